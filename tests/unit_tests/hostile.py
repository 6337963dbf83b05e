"""Tests as a model might write them: a few good ones, and every kind of bad one."""

MODULE = '''"""Two functions."""


def clamp(x, low, high):
    """Clamp."""
    if low > high:
        raise ValueError("low above high")
    if x < low:
        return low
    return high if x > high else x


def count(words):
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found
'''

HEAD = """
import os
import random
import signal
import socket
import sys
import time

import pytest
from pkg.mod import clamp, count

"""

FORK = "try:\n            os.fork()\n        except OSError:\n            pass"
FILL = "for _ in range(10**5):\n            file.write(b'0' * 2**20)"

TESTS = {
    "good": ("", "assert clamp(5, 0, 3) == 3"),
    "good_low": ("", "assert clamp(-5, 0, 3) == 0"),
    "good_raises": ("", "with pytest.raises(ValueError):\n        clamp(1, 3, 2)"),
    "good_count": ("", 'assert count(["a", "b", "a"]) == {"a": 2, "b": 1}'),
    "wrong": ("failed", "assert clamp(5, 0, 3) == 4"),
    "today": ("flaky", "assert clamp(int(time.time()), 0, 2**40) < %d"),
    "chance": ("flaky", "assert clamp(random.random(), 0, 1) != clamp(sys.hash_info.width, 0, 1) and hash('a') % 2"),
    "order": ("flaky", "assert clamp(list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}).index('a'), 0, 9) == %d"),
    "endless": ("timeout", "clamp(1, 0, 2)\n    while True:\n        pass\n    assert clamp(1, 0, 2)"),
    "memory": ("memory", "assert clamp(len(bytearray(2**34)), 0, 1) == 1"),
    "network": ("network", "socket.create_connection(('192.0.2.1', 80), 2)\n    assert clamp(1, 0, 2) == 1"),
    "exits": ("ended the process", "assert clamp(1, 0, 2) == 1\n    os._exit(0)"),
    "deletes": ("failed", "os.remove(sys.modules['pkg.mod'].__file__)\n    assert clamp(1, 0, 2) == 1"),
    "silent": ("no assertion", "clamp(1, 0, 2)"),
    "trivial": ("trivial assertion", "clamp(1, 0, 2)\n    assert 1 == 1"),
    "again": ("duplicate", "assert clamp(5, 0, 3) == 3"),
    "more": ("covers nothing new", "assert clamp(6, 0, 4) == 4"),
    "forks": (
        "timeout",
        f"while True:\n        {FORK}\n    assert clamp(1, 0, 2)",
    ),
    "prints": ("output", "while True:\n        os.write(1, b'x' * 100000)\n    assert clamp(1, 0, 2) == 1"),
    "secrets": ("failed", "assert clamp(len([k for k in os.environ if 'TOKEN' in k]), 0, 9) == 1"),
    "fills": (
        "failed",
        f"with open('/tmp/x', 'wb') as file:\n        {FILL}\n    assert clamp(1, 0, 2) == 1",
    ),
    "link": (
        "failed",
        "os.symlink('/etc/shadow', '/tmp/link')\n    assert clamp(len(open('/tmp/link').read()), 0, 1) == 1",
    ),
    "processes": ("failed", "assert clamp(len([p for p in os.listdir('/proc') if p.isdigit()]), 0, 50) == 50"),
    "signals": ("failed", "os.kill(1, 9)\n    os.kill(os.getppid(), signal.SIGKILL)\n    assert clamp(1, 0, 2) == 5"),
    "stubbed": ("focal code not executed", "clamp = lambda *given: 3\n    assert clamp(5, 0, 3) == 3"),
}


def source(now: float, position: int) -> str:
    """The file of all tests.

    Args:
        now: the time, which one of them takes for the future's limit.
        position: of a letter in a set, in the first run.
    """
    filled = {"today": int(now) + 1000, "order": position}
    parts = []
    for name, (_, body) in TESTS.items():
        parts.append(f"def test_{name}():\n    {body % filled[name] if name in filled else body}\n")
    return HEAD + "\n\n".join(parts)
