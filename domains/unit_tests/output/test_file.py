"""The test file that is written: what the user has in it already, byte for byte, and a block of tests behind it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import suite
from domains.unit_tests.data.focal import parse
from domains.unit_tests.types import Candidate
from suite.errors import InputError

BEGIN = "# --- written by peft-suite unit_tests: begin ---"
END = "# --- written by peft-suite unit_tests: end ---"


def users_part(text: str) -> str:
    """A test file without the block that was written into it before."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return text
    kept = after.lstrip("\r\n")
    end = "\r\n" if "\r\n" in before else "\n"
    return before.rstrip("\r\n") + end + kept if before.strip() else kept


def kept_text(path: Path) -> str:
    """The text of a test file that is gone on in, with its own line ends.

    Raises:
        InputError: it cannot be read, is no Python, or would not stay as it is.
    """
    parse(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: tests are added to files in UTF-8 alone; save it so first") from None
    if text.startswith("\ufeff"):
        raise InputError(f"{path}: begins with a byte-order mark; tests are added to files without: save it so first")
    return text


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
    body = body_of(tests)
    block = f"{BEGIN}\n{_header(module, about, remark)}{imports}\n\n{body}\n\n\n{END}\n"
    if not user.strip():
        return block
    end = "\r\n" if "\r\n" in user else "\n"
    return f"{user.rstrip(end)}{3 * end}{block.replace(chr(10), end)}"


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


def body_of(tests: Sequence[Candidate]) -> str:
    """Functions as they are; methods `C::test_x` in their classes, each of which stands where its first one does."""
    holders: dict[str, list[ast.stmt]] = {}
    parts: list[str | tuple[str, list[ast.stmt]]] = []
    for test in tests:
        holder, _, _ = test.name.rpartition("::")
        if not holder:
            parts.append(test.code.rstrip("\n"))
            continue
        if holder not in holders:
            holders[holder] = []
            parts.append((holder, holders[holder]))
        holders[holder] += ast.parse(test.code).body
    return "\n\n\n".join(part if isinstance(part, str) else _case(*part) for part in parts)


def _case(name: str, methods: list[ast.stmt]) -> str:
    kind = "IsolatedAsyncioTestCase" if any(isinstance(one, ast.AsyncFunctionDef) for one in methods) else "TestCase"
    base = ast.Attribute(ast.Name("unittest", ast.Load()), kind, ast.Load())
    holder = ast.ClassDef(name, [base], [], methods, [], **_TYPE_PARAMETERS)
    return ast.unparse(ast.fix_missing_locations(holder))


_TYPE_PARAMETERS: dict[str, Any] = {"type_params": []} if sys.version_info >= (3, 12) else {}


def source_of(test: Candidate, module: str) -> str:
    """A whole file with one test."""
    return f"{merged(test.imports, module)}\n\n{body_of([test])}\n"


def expected_to_fail(test: Candidate, why: str) -> Candidate:
    """The test with a mark that says why it is there although it fails."""
    reason = f"possible bug or wrong expectation: {' '.join(why.split())[:120]}"
    if "::" in test.name:
        tree = ast.parse(test.code)
        [node] = tree.body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        node.decorator_list.insert(0, ast.parse("unittest.expectedFailure", mode="eval").body)
        node.body[0] = ast.Expr(ast.Constant(f"Tests {test.focal}: {reason}."))
        return replace(test, code=ast.unparse(ast.fix_missing_locations(tree)) + "\n")
    code = f"@pytest.mark.xfail(reason={reason!r}, strict=False)\n{test.code}"
    return replace(test, code=code, imports=(*test.imports, "import pytest"))


def _header(module: str, about: Mapping[str, object], remark: str) -> str:
    """What wrote the tests; the date only where SOURCE_DATE_EPOCH gives one, so that a file can be made again."""
    told = f"base {about['base']}, adapter {about['adapter']}, seed {about['seed']}"
    if (epoch := os.environ.get("SOURCE_DATE_EPOCH", "")).isdecimal():
        told += f", {datetime.fromtimestamp(int(epoch), UTC):%Y-%m-%d}"
    lines = [f"Tests of {module} by peft-suite {suite.__version__}: {told}.", *remark.splitlines()]
    return "".join(f"# {line}\n" for line in lines)
