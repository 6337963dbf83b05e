"""Test functions as methods of `unittest.TestCase`: its own assertions, and contexts for what is raised and warned.

Tests that need more of pytest (fixtures, parameters, marks) cannot be such methods, and are left as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from domains.unit_tests.types import Candidate, Focal

Definition = ast.FunctionDef | ast.AsyncFunctionDef

_COMPARED = {
    **{ast.Eq: "assertEqual", ast.NotEq: "assertNotEqual", ast.Is: "assertIs", ast.IsNot: "assertIsNot"},
    **{ast.Lt: "assertLess", ast.LtE: "assertLessEqual", ast.Gt: "assertGreater", ast.GtE: "assertGreaterEqual"},
    **{ast.In: "assertIn", ast.NotIn: "assertNotIn"},
}
_NONE = {ast.Is: "assertIsNone", ast.IsNot: "assertIsNotNone"}
_CONTEXTS = {
    "pytest.raises": ("assertRaises", "assertRaisesRegex"),
    "pytest.warns": ("assertWarns", "assertWarnsRegex"),
}
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12
"""Tolerances of `pytest.approx`."""


def class_name(focal: Focal) -> str:
    """Of the class with a function's tests: `pkg.split_words` is in `TestSplitWords`."""
    words = focal.name.replace(".", "_").split("_")
    return "Test" + "".join(f"{word[:1].upper()}{word[1:]}" for word in words if word)


def method(test: Definition) -> Definition | None:
    """The test as a method; None where it needs pytest.

    Args:
        test: is changed in place, also where it is none.
    """
    converter = _Converter(dict(_exceptions(test)))
    test.body = [converter.visit(one) for one in test.body]
    if needs_pytest(test):
        return None
    test.args.args.insert(0, ast.arg("self"))
    return ast.fix_missing_locations(test)


def pytest_needed(candidate: Candidate) -> bool:
    """Whether a test that is Python is none of a `TestCase`, or names pytest."""
    [node] = ast.parse(candidate.code).body
    return "::" not in candidate.name or not isinstance(node, Definition) or needs_pytest(node)


def needs_pytest(test: Definition) -> bool:
    """Whether a test names pytest, or takes fixtures."""
    named = any(isinstance(node, ast.Name) and node.id == "pytest" for node in ast.walk(test))
    fixtures = [one.arg for one in (*test.args.posonlyargs, *test.args.args, *test.args.kwonlyargs)]
    return named or bool(set(fixtures) - {"self"})


@dataclass
class _Converter(ast.NodeTransformer):
    """Exchanges assertions.

    Attributes:
        names: of what `pytest.raises(...) as name` gives, whether nothing but its `value` is used.
    """

    names: dict[str, bool]

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        self.generic_visit(node)
        found = _asserted(node.test)
        if found is None:
            return node
        name, arguments, keywords = found
        if node.msg is not None:
            keywords = [*keywords, ast.keyword("msg", node.msg)]
        return ast.copy_location(ast.Expr(_call(name, arguments, keywords)), node)

    def visit_With(self, node: ast.With) -> ast.stmt:
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name) and not self.names.get(item.optional_vars.id, True):
                continue
            item.context_expr = _context(item.context_expr)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and self.names.get(node.value.id) and node.attr == "value":
            node.attr = "exception"
        return self.generic_visit(node)  # type: ignore[return-value]


def _exceptions(test: Definition) -> Iterator[tuple[str, bool]]:
    """Names of caught exceptions, and whether all uses of each are of its `value`."""
    names = {
        item.optional_vars.id
        for node in ast.walk(test)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and _called(item.context_expr) == "pytest.raises"
    }
    for name in names:
        uses = [one for one in ast.walk(test) if _is_name(one, name) and isinstance(one.ctx, ast.Load)]  # type: ignore[attr-defined]
        values = [
            one
            for one in ast.walk(test)
            if isinstance(one, ast.Attribute) and one.attr == "value" and _is_name(one.value, name)
        ]
        yield name, len(uses) == len(values)


def _context(node: ast.expr) -> ast.expr:
    if not isinstance(node, ast.Call) or _called(node) not in _CONTEXTS or len(node.args) != 1:
        return node
    plain, matching = _CONTEXTS[_called(node)]
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if not given:
        return _call(plain, node.args, [])
    return _call(matching, [*node.args, given["match"]], []) if set(given) == {"match"} else node


def _asserted(test: ast.expr) -> tuple[str, list[ast.expr], list[ast.keyword]] | None:
    """The method of TestCase that asserts it, with its arguments; None where pytest is needed."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return "assertFalse", [test.operand], []
    if isinstance(test, ast.Call) and _called(test) == "isinstance" and len(test.args) == 2:
        return "assertIsInstance", list(test.args), []
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return "assertTrue", [test], []
    kind, left, right = type(test.ops[0]), test.left, test.comparators[0]
    if _called(right) == "pytest.approx" or _called(left) == "pytest.approx":
        other, close = (left, right) if _called(right) == "pytest.approx" else (right, left)
        return _close(other, close) if kind is ast.Eq else None
    if isinstance(right, ast.Constant) and right.value is None and kind in _NONE:
        return _NONE[kind], [left], []
    return _COMPARED[kind], [left, right], []


def _close(value: ast.expr, approx: ast.expr) -> tuple[str, list[ast.expr], list[ast.keyword]] | None:
    assert isinstance(approx, ast.Call)
    try:
        given = {keyword.arg: float(ast.literal_eval(keyword.value)) for keyword in approx.keywords}
        [wanted] = [float(ast.literal_eval(one)) for one in approx.args]
    except (ValueError, TypeError):  # a list, or what is no literal
        return None
    if not set(given) <= {"rel", "abs"}:
        return None
    relative = given.get("rel", 0.0 if "abs" in given else _RELATIVE)
    delta = float(f"{max(relative * abs(wanted), given.get('abs', _ABSOLUTE)):.6g}")
    return "assertAlmostEqual", [value, approx.args[0]], [ast.keyword("delta", ast.Constant(delta))]


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load()), arguments, keywords)


def _called(node: ast.expr) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
