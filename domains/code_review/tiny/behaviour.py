"""Whether a changed file of the made world still does what its tests state.

A model's code is run only where its syntax tree holds nothing but what the made world's own functions are made of: no
import, no attribute that begins with an underscore, no name that neither the file nor a short list of built-ins knows.
It runs in a process of its own with a limit on time and memory.
"""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys

SECONDS = 5
MEMORY = 512 * 2**20
BUILTINS = frozenset(
    re.findall(
        r"\w+",
        """abs all any bool dict divmod enumerate filter float int isinstance len list map max min pow range reversed
        round set sorted str sum tuple zip ValueError TypeError KeyError IndexError ZeroDivisionError Exception""",
    )
)
_REFUSED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.AsyncFunctionDef, ast.ClassDef, ast.With)


def passes(text: str, right: str, tests: str) -> bool:
    """Whether a file passes tests.

    Args:
        text: of the file. right: of the file as it should be: the same tree passes.
        tests: of its test file, whose imports are left out; they come from the made world and hold no model's text.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    if ast.dump(tree) == ast.dump(ast.parse(right)):
        return True
    return harmless(tree) and _run(text, tests)


def harmless(tree: ast.Module) -> bool:
    """Whether a tree holds nothing but plain functions over plain values."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, _REFUSED):
            return False
        if isinstance(node, ast.Attribute) and (node.attr.startswith("_") or node.attr.startswith("format")):
            return False
        if isinstance(node, ast.Name) and (node.id.startswith("_") or node.id not in own | BUILTINS):
            return False
    return True


def _run(text: str, tests: str) -> bool:
    lines = [line for line in tests.splitlines() if not line.startswith(("import ", "from "))]
    calls = "\n".join(f"{line[4:].split('(')[0]}()" for line in lines if line.startswith("def test_"))
    raises = (
        "class _Raises:\n    def __init__(self, kind):\n        self.kind = kind\n    def __enter__(self):\n"
        "        return self\n    def __exit__(self, kind, error, trace):\n"
        "        assert kind is not None\n        return issubclass(kind, self.kind)\n"
        "class pytest:\n    raises = _Raises\n"
    )
    program = "\n".join([text, raises, *lines, calls])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program],
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={},
            preexec_fn=_limited,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
