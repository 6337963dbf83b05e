"""Tests that hold on to what code does today: expected values are exchanged for those that the code gave.

For code that is to be changed without changing what it does. Such a test says nothing of whether the code is right, and
is labelled so.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from domains.unit_tests.types import Candidate

FILE = "snapshot.jsonl"
"""Below TMPDIR in the sandbox: of every value its number and `repr`, as JSON."""
_RECORD = f"""
def __snapshot__(number, value):
    import json, os
    with open(os.path.join(os.environ["TMPDIR"], {FILE!r}), "a") as file:
        file.write(json.dumps([number, repr(value)]) + "\\n")
"""
_MOST = 1000
"""Characters of a value."""
_LABEL = "Snapshot: what the code gave when this was written, right or wrong."
SUFFIX = "_snapshot"


def recording(candidate: Candidate) -> str:
    """The test's file with every assertion of a value exchanged for a note of the value; nothing is asserted."""

    def note(number: int, statement: ast.stmt, left: ast.expr, wanted: ast.expr) -> ast.stmt:
        return ast.Expr(ast.Call(ast.Name("__snapshot__", ast.Load()), [ast.Constant(number), left], []))

    tree = ast.parse(candidate.source)
    for test in _tests(tree):
        _exchanged(test, note)
    return f"{ast.unparse(ast.fix_missing_locations(tree))}\n{_RECORD}"


def rewritten(candidate: Candidate, noted: Sequence[Sequence[object]], name: str) -> Candidate | None:
    """The test with the values that were noted; None where there are none that can be written down.

    Args:
        noted: pairs of a number and a `repr`.
        name: of the new test.
    """
    values = _values(noted)
    changed = 0

    def put(number: int, statement: ast.stmt, left: ast.expr, wanted: ast.expr) -> ast.stmt | None:
        nonlocal changed
        if number not in values:
            return None
        changed += 1
        return _assertion(statement, left, wanted, values[number])

    def of(code: str) -> str:
        tree = ast.parse(code)
        for test in _tests(tree):
            _exchanged(test, put)
            test.name = name.rpartition("::")[2]
            if ast.get_docstring(test) is not None:
                test.body = test.body[1:]
            test.body.insert(0, ast.Expr(ast.Constant(_LABEL)))
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"

    made = replace(candidate, name=name, code=of(candidate.code), source=of(candidate.source), snapshot=True)
    return made if changed else None


Change = Callable[[int, ast.stmt, ast.expr, ast.expr], ast.stmt | None]


def _exchanged(test: ast.AST, change: Change) -> None:
    """Exchange the statements that assert a value, each with its number, the expression and the value's."""
    number = 0
    for holder in list(ast.walk(test)):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(holder, field, None)
            if not isinstance(statements, list):
                continue
            for place, statement in enumerate(statements):
                if (sides := _sides(statement)) is None:
                    continue
                new = change(number, statement, *sides)
                number += 1
                if new is not None:
                    statements[place] = ast.copy_location(new, statement)


def _sides(statement: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """What is computed and what is expected, of an assertion that both are equal."""
    if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
        test = statement.test
        if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.Is):
            return None
        pair = (test.left, test.comparators[0])
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        named = ast.unparse(call.func).rpartition(".")[2]
        if named not in ("assertEqual", "assertIs", "assertAlmostEqual") or len(call.args) != 2:
            return None
        pair = (call.args[0], call.args[1])
    else:
        return None
    literal = [_is_literal(side) for side in pair]
    if literal == [False, True]:
        return pair
    return (pair[1], pair[0]) if literal == [True, False] else None


def _assertion(statement: ast.stmt, left: ast.expr, wanted: ast.expr, value: ast.expr) -> ast.stmt:
    """The assertion in the form that it had; a tolerance stays."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        method = ast.Attribute(ast.Name("self", ast.Load()), "assertEqual", ast.Load())
        of = call.func if ast.unparse(call.func).endswith("assertAlmostEqual") else method
        return ast.Expr(ast.Call(of, [left, value], call.keywords))
    if isinstance(wanted, ast.Call) and isinstance(value, ast.Constant):
        value = ast.Call(wanted.func, [value, *wanted.args[1:]], wanted.keywords)
    return ast.Assert(ast.Compare(left, [ast.Eq()], [value]))


def _values(noted: Sequence[Sequence[object]]) -> Mapping[int, ast.expr]:
    """The values that were the same every time and that can be written as literals."""
    found: dict[int, set[str]] = {}
    for number, text in noted:
        if isinstance(number, int) and isinstance(text, str):
            found.setdefault(number, set()).add(text)
    values = {}
    for number, texts in found.items():
        [text, *more] = texts
        if more or len(text) > _MOST:
            continue
        try:
            ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        values[number] = ast.parse(text, mode="eval").body
    return values


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "pytest.approx" and bool(node.args) and _is_literal(node.args[0])
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _tests(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    members = [one for node in tree.body for one in (node.body if isinstance(node, ast.ClassDef) else [node])]
    return [
        one
        for one in members
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test")
    ]
