"""Tests as text: cut out of a file one by one, and looked at before anything is run."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterator
from copy import copy

from domains.unit_tests.data.python_text import Definition, lines_of
from domains.unit_tests.types import Candidate
from suite.errors import InputError

_RAISING = {"raises", "warns", "deprecated_call"}
_CONSTANT = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp, ast.BoolOp),
    *(ast.expr_context, ast.operator, ast.unaryop, ast.boolop),
)


def split(source: str, where: str = "tests") -> list[Candidate]:
    """The tests of a file, each as a file of its own with all that is not a test beside it.

    Args:
        where: name of the file, for errors.

    Raises:
        InputError: the file is no Python; names line and column.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise InputError(f"{where}:{error.lineno}:{error.offset}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be parsed: {error}") from error
    found = []
    for number, node in enumerate(tree.body):
        for name, kept in _tests(node):
            body = [other for place, other in enumerate(tree.body) if place != number and not _only_tests(other)]
            # What stands before the test stays before it: a name may be made anew behind it.
            before = [other for other in body if other.lineno < node.lineno]
            after = [other for other in body if other.lineno > node.lineno]
            whole = ast.Module([*before, kept, *after], [])
            test = kept.body[-1] if isinstance(kept, ast.ClassDef) else kept
            first, last = _lines(test)
            text = textwrap.dedent("".join(lines_of(source)[first - 1 : last]))
            # A text in a method may begin further left than the method does.
            code = text if parsed(text) else ast.unparse(test) + "\n"
            found.append(Candidate(name, code, ast.unparse(whole) + "\n"))
    return found


def pruned(source: str, dropped: Collection[str]) -> str:
    """A test file without some of its tests, everything else as it was; classes that are left empty go, too.

    Args:
        dropped: names as `split` gives them.
    """
    tree = ast.parse(source)
    gone: set[int] = set()
    for node in tree.body:
        tests = [(name, kept.body[-1] if isinstance(kept, ast.ClassDef) else kept) for name, kept in _tests(node)]
        lost = [test for name, test in tests if name in dropped]
        whole = [node] if lost and len(lost) == len(tests) else lost
        for one in whole:
            first, last = _lines(one)
            gone |= set(range(first, last + 1))
    kept_lines = [line for number, line in enumerate(lines_of(source), 1) if number not in gone]
    return re.sub(r"\n{4,}", "\n\n\n", "".join(kept_lines)).rstrip("\n") + "\n"


def _lines(node: ast.stmt) -> tuple[int, int]:
    """First and last line of a definition, its decorators too."""
    decorators = [one.lineno for one in getattr(node, "decorator_list", [])]
    return min([node.lineno, *decorators]), node.end_lineno or node.lineno


def parsed(code: str) -> bool:
    """Whether text is Python."""
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def assertion(candidate: Candidate) -> str:
    """What a test asserts: `real`, `trivial` (nothing that could fail) or `none`."""
    kinds = [_trivial(node) for node in _assertions(ast.parse(candidate.code))]
    if not kinds:
        return "none"
    return "trivial" if all(kinds) else "real"


def fingerprint(candidate: Candidate) -> str:
    """The same for tests that differ in nothing but their names, docstrings and formatting."""
    [node] = ast.parse(candidate.code).body
    assert isinstance(node, Definition)
    body = node.body
    if (
        isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    ):
        body = body[1:] or body
    return ast.dump(ast.Module(body, [])) + ast.dump(node.args)


def _tests(node: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """Tests in a statement of a file: a function, or the methods of a class, each with what the class has beside."""
    if isinstance(node, Definition) and node.name.startswith("test"):
        yield node.name, node
    elif isinstance(node, ast.ClassDef) and (node.name.startswith("Test") or _is_case(node)):
        others = [one for one in node.body if not _is_test(one)]
        for member in node.body:
            if isinstance(member, Definition) and _is_test(member):
                kept = copy(node)
                kept.body = [*others, member]
                yield f"{node.name}::{member.name}", kept


def _only_tests(node: ast.stmt) -> bool:
    return next(_tests(node), None) is not None


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, Definition) and node.name.startswith("test")


def _is_case(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).rpartition(".")[2].endswith("TestCase") for base in node.bases)


def _assertions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in _RAISING or called.startswith("assert"):
                yield node


def _trivial(node: ast.AST) -> bool:
    """Whether an assertion cannot fail: it compares constants, or a name with itself, and calls nothing."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in _RAISING or called.startswith(("assert_called", "assert_any", "assert_has", "assert_not_called")):
            return False
        same = len(node.args) == 2 and ast.dump(node.args[0]) == ast.dump(node.args[1]) and not _calls(node.args[0])
        return same or (bool(node.args) and all(_constant(argument) for argument in node.args))
    assert isinstance(node, ast.Assert)
    test = node.test
    if isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        same = len({ast.dump(side) for side in sides}) == 1 and not any(_calls(side) for side in sides)
        return same or all(_constant(side) for side in sides)
    return _constant(test)


def _constant(node: ast.AST) -> bool:
    return all(isinstance(one, _CONSTANT) for one in ast.walk(node))


def _calls(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Call | ast.Await) for one in ast.walk(node))
