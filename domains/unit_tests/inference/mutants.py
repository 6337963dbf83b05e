"""Small changes of a function that its tests should notice.

Operators: arithmetic, comparison and its boundary, and/or, negation, constants (defaults of arguments among them), what
is returned, break and continue, statements left out, bounds of slices, conditions. Docstrings, annotations and calls
that only log are let be.
"""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import unified_diff
from types import CodeType

from domains.unit_tests.data.python_text import lines_of
from domains.unit_tests.types import Focal

_ARITHMETIC = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult},
    **{ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
_COMPARISON = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
_LOGGING = ("log", "logger", "logging", "warnings", "print")

Change = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        line: where the change is. operator: what kind of change. diff: it as a unified diff.
        source: the whole changed file.
    """

    line: int
    operator: str
    diff: str
    source: str


def mutants(source: str, focal: Sequence[Focal], most: int = 200, seed: int = 0) -> list[Mutant]:
    """The mutants of functions of a file, by line; those that compile to the same code as another are left out.

    Args:
        most: more are drawn at random, by `seed`.
    """
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    seen = {_fingerprint(plain)}
    found = []
    for number in range(sum(1 for _ in _changes(tree, focal))):
        # Each change is made on a tree of its own: what it does to one cannot be undone for the next.
        copy = deepcopy(tree)
        place, operator, change = next(one for at, one in enumerate(_changes(copy, focal)) if at == number)
        span = _span(place.node())
        change()
        text = ast.unparse(ast.fix_missing_locations(copy))
        mark = _fingerprint(text)
        if mark is None or mark in seen:
            continue
        seen.add(mark)
        changed = _spliced(source, span, place.node(), mark)
        diff = _diff(plain, text) if changed is None else _diff(source, changed)
        found.append(Mutant(place.line, operator, diff, text))
    if len(found) > most:
        found = sorted(random.Random(seed).sample(found, most), key=lambda mutant: mutant.line)
    return found


@dataclass(frozen=True)
class _Place:
    """Where a node stands in a tree, also after it was exchanged."""

    parent: ast.AST
    field: str
    index: int | None
    line: int

    def node(self) -> ast.AST:
        """The node; of a condition that alone."""
        held = getattr(self.parent, self.field)
        node: ast.AST = held if self.index is None else held[self.index]
        return node.test if isinstance(node, ast.If | ast.While) else node


def _changes(tree: ast.Module, focal: Sequence[Focal]) -> Iterator[tuple[_Place, str, Change]]:
    """Every change that can be made in the functions of a tree: its place, its operator, and what makes it."""
    for parent, field, index, node in _nodes(tree):
        line = getattr(node, "lineno", 0)
        if any(one.first <= line <= one.last for one in focal):
            for operator, change in _of(parent, field, index, node):
                yield _Place(parent, field, index, line), operator, change


def _nodes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node with its parent and place; docstrings, annotations and logging are passed over."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        parent = waiting.pop(0)
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST) and not _docstring(parent, field, index, node) and not _logs(node):
                    yield parent, field, index, node
                    waiting.append(node)


def _of(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> Iterator[tuple[str, Change]]:
    def put(new: ast.AST) -> Change:
        def change() -> None:
            if index is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[index] = new

        return change

    def give(name: str, value: object) -> Change:
        return lambda: setattr(node, name, value)

    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield "arithmetic", give("op", _ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        yield "boolean", give("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "negation", put(node.operand)
    elif isinstance(node, ast.Constant):
        yield from (("constant", put(ast.Constant(value))) for value in _other_constants(node.value))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", give("value", ast.Constant(None))
    elif isinstance(node, ast.Break):
        yield "loop", put(ast.Continue())
    elif isinstance(node, ast.Continue):
        yield "loop", put(ast.Break())
    elif isinstance(node, ast.Slice):
        for name in ("lower", "upper"):
            if getattr(node, name) is not None:
                yield "slice", give(name, None)
    if (
        isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Raise | ast.Assert | ast.Delete)
        and index is not None
    ):
        yield "statement", put(ast.Pass())
    if isinstance(node, ast.If | ast.While):
        yield "condition", give("test", ast.UnaryOp(ast.Not(), node.test))


def _compared(node: ast.Compare) -> Iterator[tuple[str, Change]]:
    for place, operator in enumerate(node.ops):
        for kind, table in (("comparison", _COMPARISON), ("opposite", _OPPOSITE)):
            if type(operator) in table:
                yield kind, _putting(node.ops, place, table[type(operator)]())


def _putting(operators: list[ast.cmpop], place: int, new: ast.cmpop) -> Change:
    return lambda: operators.__setitem__(place, new)


def _other_constants(value: object) -> Iterator[bool | float | str]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        if value not in (0, 1):
            yield value - 1
    elif isinstance(value, str):
        yield "" if value else "x"
    elif value is None:
        yield 0


def _docstring(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> bool:
    return field == "body" and index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _logs(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    return ast.unparse(node.value.func).partition(".")[0].lower() in _LOGGING


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _fingerprint(source: str) -> tuple[object, ...] | None:
    """What a file compiles to, without the numbers of its lines; None where it does not compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of code that a person would not write
            return _code(compile(source, "mutant", "exec"))
    except (SyntaxError, ValueError, OverflowError):
        return None


def _code(code: CodeType) -> tuple[object, ...]:
    inner = tuple(
        _code(one) if isinstance(one, CodeType) else (type(one).__name__, repr(one)) for one in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, inner


def _span(node: ast.AST) -> tuple[int, ...]:
    """First line, column, last line and column of a node, as its parser gave them; columns are in bytes."""
    return tuple(getattr(node, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"))


def _spliced(source: str, span: tuple[int, ...], node: ast.AST, mark: object) -> str | None:
    """The text of a file with a node in the place of another, all else as its author wrote it.

    Returns:
        None where that is no other way to write what compiles to `mark`.
    """
    first, start, last, end = span
    lines = [line.encode() for line in lines_of(source)]
    head, tail = b"".join(lines[: first - 1]) + lines[first - 1][:start], lines[last - 1][end:] + b"".join(lines[last:])
    new = ast.unparse(node)
    for text in (new, f"({new})"):
        found = (head + text.encode() + tail).decode()
        if _fingerprint(found) == mark:
            return found
    return None


def _diff(before: str, after: str) -> str:
    old, new = ([line.rstrip("\n") for line in lines_of(text)] for text in (before, after))
    lines = unified_diff(old, new, lineterm="", n=1)
    return "\n".join(list(lines)[2:])
