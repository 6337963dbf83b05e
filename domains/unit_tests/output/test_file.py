"""The test file that is written: what the user has in it already, byte for byte, and a block of tests behind it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import suite
from domains.unit_tests.types import Candidate

BEGIN = "# --- written by peft-suite unit_tests: begin ---"
END = "# --- written by peft-suite unit_tests: end ---"


def users_part(text: str) -> str:
    """A test file without the block that was written into it before."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return text
    return before.rstrip("\n") + "\n" + after.lstrip("\n") if before.strip() else after.lstrip("\n")


def names_in(text: str) -> set[str]:
    """Names that a test file defines at its top, tests among them; none where it is no Python."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return set()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in body if isinstance(node, kinds)}


def composed(user: str, tests: Sequence[Candidate], module: str, about: Mapping[str, object], remark: str) -> str:
    """The file.

    Args:
        user: what stands there already, none of it ours.
        tests: with the imports that they need; their names are those of no test of the user's.
        module: that they are for.
        about: `base`, `adapter` and `seed`.
        remark: what was done with the tests, one sentence a line.
    """
    imports = merged({line for test in tests for line in test.imports}, module)
    body = "\n\n\n".join(test.code.rstrip("\n") for test in tests)
    block = f"{BEGIN}\n{_header(module, about, remark)}{imports}\n\n{body}\n\n\n{END}\n"
    if not user.strip():
        return block
    return f"{user.rstrip(chr(10))}\n\n\n{block}"


def merged(lines: Iterable[str], module: str) -> str:
    """Import lines in groups, as people sort them: the standard library, others, the module under test."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for line in lines:
        [node] = ast.parse(line).body
        if isinstance(node, ast.ImportFrom):
            names.setdefault(node.module or "", set()).update(one.name for one in node.names)
        elif isinstance(node, ast.Import):
            plain |= {one.name for one in node.names}
    own = sorted(name for name in plain if name.partition(".")[0] in sys.stdlib_module_names)
    foreign = sorted(plain - set(own))
    tested = [f"from {path} import {', '.join(sorted(found))}" for path, found in sorted(names.items())]
    groups = ["\n".join(f"import {name}" for name in own), "\n".join(f"import {name}" for name in foreign)]
    return "\n\n".join(filter(None, [*groups, "\n".join(tested)])) + "\n"


def source_of(code: str, imports: Iterable[str], module: str) -> str:
    """A whole file with one test."""
    return f"{merged(imports, module)}\n\n{code}"


def expected_to_fail(test: Candidate, why: str) -> Candidate:
    """The test with a mark that says why it is there although it fails."""
    reason = f"possible bug or wrong expectation: {' '.join(why.split())[:120]}"
    code = f"@pytest.mark.xfail(reason={reason!r}, strict=False)\n{test.code}"
    return Candidate(test.name, code, test.source, test.focal, (*test.imports, "import pytest"))


def _header(module: str, about: Mapping[str, object], remark: str) -> str:
    """What wrote the tests; the date only where SOURCE_DATE_EPOCH gives one, so that a file can be made again."""
    told = f"base {about['base']}, adapter {about['adapter']}, seed {about['seed']}"
    if (epoch := os.environ.get("SOURCE_DATE_EPOCH", "")).isdecimal():
        told += f", {datetime.fromtimestamp(int(epoch), UTC):%Y-%m-%d}"
    lines = [f"Tests of {module} by peft-suite {suite.__version__}: {told}.", *remark.splitlines()]
    return "".join(f"# {line}\n" for line in lines)
