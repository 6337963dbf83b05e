"""The sandbox holds: what generated code does is not seen outside, and what is outside is not seen in it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from domains.unit_tests.inference import sandbox
from domains.unit_tests.inference.runs import Isolation, Limits
from domains.unit_tests.inference.sandbox import Sandbox, probe
from suite.cli.main import main
from suite.errors import InputError

QUICK = Limits(seconds=5, processor=3)
isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    tmp_path.chmod(0o755)
    (tmp_path / "mod.py").write_text("x = 1\n")
    return Sandbox(tmp_path, QUICK)


def said(box: Sandbox, code: str, **limits: object) -> str:
    ended = box.run([sys.executable, "-I", "-S", "-c", code], limits=Limits(**{"seconds": 5, "processor": 3} | limits))
    return (ended.stdout + ended.stderr).decode()


@isolated
def test_nothing_of_the_host_is_seen(box, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    secret = Path(box.project.parent, "secret.txt")
    secret.write_text("secret")
    assert "MY_TOKEN" not in said(box, "import os; print(dict(os.environ))")
    assert "No such file" in said(box, f"open({str(secret)!r})")
    assert "No such file" in said(box, "open('/etc/shadow')")
    assert int(said(box, "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))")) < 5
    assert str(os.getpid()) not in said(box, f"import os; print(os.path.exists('/proc/{os.getpid()}/environ'))")


@isolated
def test_nothing_of_the_project_changes(box):
    assert "Read-only file system" in said(box, "open('/project/mod.py', 'w')")
    assert "Read-only file system" in said(box, "import os; os.remove('/project/mod.py')")
    assert said(box, "open('/tmp/x', 'w').write('1'); print(open('/project/mod.py').read())").strip() == "x = 1"
    assert sorted(path.name for path in box.project.iterdir()) == ["mod.py"]


@isolated
def test_no_rights_and_no_way_to_them(box):
    status = said(box, "print(open('/proc/self/status').read())")
    assert (
        "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status and "CapBnd:\t0000000000000000" in status
    )
    call = "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)"
    assert said(box, f"import ctypes; libc = ctypes.CDLL(None); print({call})").strip() == "-1"
    assert "Operation not permitted" in said(box, "import os; os.chroot('/tmp')")


@isolated
def test_no_network(box):
    code = """
import socket
for address in ('127.0.0.1', '192.0.2.1'):
    try:
        socket.create_connection((address, 80), 1)
    except OSError as error:
        print(error.errno)
"""
    assert said(box, code).split() == ["101", "101"]


@isolated
def test_limits_end_what_goes_beyond_them(box):
    started = time.monotonic()
    assert box.run([sys.executable, "-c", "import time; time.sleep(60)"], limits=Limits(seconds=1)).reason == "timeout"
    ignoring = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    assert box.run([sys.executable, "-c", ignoring], limits=Limits(seconds=1)).reason == "timeout"
    assert box.run([sys.executable, "-c", "while True: print('x' * 10000)"]).reason == "output"
    assert "MemoryError" in said(box, "bytearray(2**34)")
    large = "f = open('/tmp/x', 'wb')\nfor _ in range(100): f.write(b'0' * 2**20); f.flush()"
    assert "File too large" in said(box, large)
    assert "No space" in said(box, "for n in range(99):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(b'0' * 2**20)")
    forks = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert box.run([sys.executable, "-c", forks], limits=Limits(seconds=2)).seconds < 15
    assert time.monotonic() - started < 60


@isolated
def test_what_was_started_ends_with_the_run(box):
    """A child that left its session dies, too."""
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
"""
    before = alive()
    assert box.run([sys.executable, "-c", code]).code == 0
    deadline = time.monotonic() + 5
    while alive() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive() - before


def alive() -> set[str]:
    """Processes that sleep as the one above does."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"time.sleep(300)" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
        except OSError:
            continue
    return found


def test_without_namespaces_nothing_runs_unless_it_is_allowed(box, monkeypatch):
    monkeypatch.setattr(sandbox, "probe", lambda: Isolation(False, False, True, True, "no unshare"))
    with pytest.raises(InputError, match=r"cannot isolate generated code \(no unshare\).*--unsafe"):
        box.run([sys.executable, "-c", "print(1)"])
    allowed = Sandbox(box.project, QUICK, unsafe=True)
    assert allowed.run([sys.executable, "-c", "print(open('mod.py').read())"]).stdout.strip() == b"x = 1"
    assert allowed.run([sys.executable, "-c", "bytearray(2**34)"]).code == 1


def test_files_for_the_sandbox_lie_in_it(box):
    with pytest.raises(InputError, match="lie below /tmp"):
        box.run([sys.executable], {"/etc/passwd": "x"})


@isolated
def test_files_may_be_longer_than_a_word_of_a_command_line(box):
    """Which is at most 128 KiB on Linux; a judged file of tests with its helpers is soon longer."""
    text = "# word\n" * 100_000
    path = "/tmp/tests/test_long.py"
    ended = box.run([sys.executable, "-I", "-S", "-c", f"print(len(open({path!r}).read()))"], {path: text})
    assert ended.stdout.strip() == b"700000"


@isolated
def test_a_sandbox_that_cannot_be_made_is_no_fault_of_what_should_run_in_it(box, monkeypatch):
    monkeypatch.setattr(sandbox, "_system", lambda: [("/no/such/folder", "/no/such/folder", False)])
    with pytest.raises(InputError, match=r"the sandbox cannot be made: .*/no/such/folder: No such file"):
        box.run([sys.executable, "-c", "print(1)"])
    monkeypatch.undo()
    assert box.run([sys.executable, "-c", "raise SystemExit(125)"]).code == 1


def test_doctor_says_what_is_enforced(capsys, monkeypatch):
    code = main(["unit_tests", "doctor"])
    out = capsys.readouterr().out
    assert (code == 0) == probe().namespaces and "network" in out
    from domains.unit_tests import predict

    monkeypatch.setattr(predict, "probe", lambda: Isolation(False, False, False, False, "no unshare"))
    assert main(["unit_tests", "doctor"]) == 2
    assert "not run on this machine" in capsys.readouterr().out
