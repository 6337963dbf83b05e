"""Where the values of variables come from, as CodeBLEU draws it (arXiv 2009.10297, section 3.3).

A walk over the syntax tree that carries, for every name, the tokens that gave it its value. Loops are walked twice, so
that a value of one round reaches the next; branches are walked from the same state, and joined behind. The rules are
those of the published code, whose results depend on the order of sets where several sources are joined: here they are
sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from suite.code.syntax import Language, is_token, parse, tokens

if TYPE_CHECKING:
    from tree_sitter import Node

Relation = Literal["comesFrom", "computedFrom"]
States = dict[str, list[int]]
"""By name, the numbers of the tokens that gave it its value."""


@dataclass(frozen=True)
class Edge:
    """A variable and what its value comes from.

    Attributes:
        name: of the variable. token: its number in the text. relation: how it comes.
        sources, places: names and numbers of the tokens that it comes from.
    """

    name: str
    token: int
    relation: Relation
    sources: tuple[str, ...] = ()
    places: tuple[int, ...] = ()


Shape = tuple[str, Relation, tuple[str, ...]]
"""An edge with its variables named by their first appearance."""


def flow(code: str, language: Language) -> list[Edge]:
    """The edges of a text, one a token, in order; those that neither have a source nor are one are left out."""
    root = parse(code, language)
    walk = _Walk(code, root, language)
    try:
        found, _ = walk(root, {})
    except (_Incomplete, RecursionError):
        return []
    found.sort(key=lambda edge: edge.token)
    linked = {edge.token for edge in found if edge.places} | {place for edge in found for place in edge.places}
    merged: dict[int, Edge] = {}
    for edge in found:
        if edge.token in linked:
            known = merged.get(edge.token)
            merged[edge.token] = edge if known is None else _joined(edge, known)
    return list(merged.values())


def shapes(edges: Iterable[Edge]) -> list[Shape]:
    """Edges with names that do not tell what the variables are called."""
    names: dict[str, str] = {}
    found: list[Shape] = []
    for edge in edges:
        for name in (*edge.sources, edge.name):
            names.setdefault(name, f"var_{len(names)}")
        found.append((names[edge.name], edge.relation, tuple(names[name] for name in edge.sources)))
    return found


class _Incomplete(Exception):
    """A part that the grammar asks for is missing: the published code then finds no flow at all."""


class _Walk:
    """Walks a tree; calling it with a node and states gives the node's edges and the states behind it."""

    def __init__(self, code: str, root: Node, language: Language) -> None:
        self.language = language
        lines = code.split("\n")
        self.numbers: dict[tuple[object, object], tuple[int, str]] = {}
        for number, node in enumerate(tokens(root)):
            self.numbers[node.start_point, node.end_point] = (number, _text(node, lines))
        java: Mapping[str, Callable[[Node, States], tuple[list[Edge], States]]] = {
            "variable_declarator": self._definition,
            "assignment_expression": self._java_assignment,
            "update_expression": self._increment,
            "if_statement": self._java_branches,
            "else": self._java_branches,
            "for_statement": self._java_for,
            "enhanced_for_statement": self._java_each,
            "while_statement": self._while,
        }
        python: Mapping[str, Callable[[Node, States], tuple[list[Edge], States]]] = {
            "default_parameter": self._definition,
            "assignment": self._python_assignment,
            "augmented_assignment": self._python_assignment,
            "for_in_clause": self._python_assignment,
            "if_statement": self._python_branches,
            "for_statement": self._python_for,
            "while_statement": self._while,
        }
        self.rules = java if language == "java" else python

    def __call__(self, node: Node, states: States) -> tuple[list[Edge], States]:
        states = dict(states)
        if is_token(node):
            return self._token(node, states)
        rule = self.rules.get(node.type, self._children)
        return rule(node, states)

    def _token(self, node: Node, states: States) -> tuple[list[Edge], States]:
        number, text = self._known(node)
        if node.type == text:  # a keyword or a mark
            return [], states
        if text in states:
            return [Edge(text, number, "comesFrom", (text,), tuple(states[text]))], states
        if node.type == "identifier":
            states[text] = [number]
        return [Edge(text, number, "comesFrom")], states

    def _children(self, node: Node, states: States) -> tuple[list[Edge], States]:
        """Of a comprehension the part that gives names their values comes first."""
        first = [child for child in node.children if child.type == "for_in_clause" and self.language == "python"]
        rest = [child for child in node.children if child.type != "for_in_clause" or self.language != "python"]
        return self._all([*first, *rest], states)

    def _all(self, nodes: Iterable[Node], states: States) -> tuple[list[Edge], States]:
        found: list[Edge] = []
        for child in nodes:
            edges, states = self(child, states)
            found += edges
        return found, states

    def _definition(self, node: Node, states: States) -> tuple[list[Edge], States]:
        names, value = self._variables(_part(node, "name")), node.child_by_field_name("value")
        if value is None:
            for number, name in names:
                states[name] = [number]
            return [Edge(name, number, "comesFrom") for number, name in names], states
        return self._given(names, value, states, "comesFrom")

    def _java_assignment(self, node: Node, states: States) -> tuple[list[Edge], States]:
        left, right = _part(node, "left"), _part(node, "right")
        return self._given(self._variables(left), right, states, "computedFrom")

    def _given(
        self, names: list[tuple[int, str]], value: Node, states: States, relation: Relation
    ) -> tuple[list[Edge], States]:
        """Names get a value: an edge for each pair of a name and a variable in the value."""
        found, states = self(value, states)
        for number, name in names:
            for place, source in self._variables(value):
                found.append(Edge(name, number, relation, (source,), (place,)))
            states[name] = [number]
        return found, states

    def _increment(self, node: Node, states: States) -> tuple[list[Edge], States]:
        names = self._variables(node)
        found = []
        for number, name in names:
            found += [Edge(name, number, "computedFrom", (source,), (place,)) for place, source in names]
            states[name] = [number]
        return found, states

    def _python_assignment(self, node: Node, states: States) -> tuple[list[Edge], States]:
        if node.type == "for_in_clause":
            return self._paired([_part(node, "left")], [node.children[-1]], states)
        if node.child_by_field_name("right") is None:  # an annotation alone
            return [], states
        return self._paired(*_sides(node), states)

    def _paired(self, left: list[Node], right: list[Node], states: States) -> tuple[list[Edge], States]:
        """Targets get values one by one: an edge for each name, with all variables of its value."""
        found, states = self._all(right, states)
        for target, value in zip(left, right, strict=False):
            sources = self._variables(value)
            for number, name in self._variables(target):
                names, places = tuple(source for _, source in sources), tuple(place for place, _ in sources)
                found.append(Edge(name, number, "computedFrom", names, places))
                states[name] = [number]
        return found, states

    def _python_branches(self, node: Node, states: States) -> tuple[list[Edge], States]:
        found: list[Edge] = []
        current, others, has_else = states, [], False
        for child in node.children:
            has_else |= "else" in child.type
            if child.type in ("elif_clause", "else_clause"):
                edges, behind = self(child, states)
                others.append(behind)
            else:
                edges, current = self(child, current)
            found += edges
        return found, _together([*others, current, *([] if has_else else [states])])

    def _java_branches(self, node: Node, states: States) -> tuple[list[Edge], States]:
        found: list[Edge] = []
        current, others, has_else, first = states, [], "else" in node.type, True
        for child in node.children:
            has_else |= "else" in child.type
            first = first and child.type not in ("if_statement", "else")
            if first:
                edges, current = self(child, current)
            else:
                edges, behind = self(child, states)
                others.append(behind)
            found += edges
        return found, _together([*others, current, *([] if has_else else [states])])

    def _java_for(self, node: Node, states: States) -> tuple[list[Edge], States]:
        found, states = self._all(node.children, states)
        kinds = [child.type for child in node.children]
        start = kinds.index("local_variable_declaration") + 1 if "local_variable_declaration" in kinds else len(kinds)
        more, states = self._all(node.children[start:], states)
        return _merged(found + more), states

    def _java_each(self, node: Node, states: States) -> tuple[list[Edge], States]:
        name, value, body = (_part(node, part) for part in ("name", "value", "body"))
        found: list[Edge] = []
        for _ in range(2):
            edges, states = self._given(self._variables(name), value, states, "computedFrom")
            more, states = self(body, states)
            found += edges + more
        return _merged(found), states

    def _python_for(self, node: Node, states: States) -> tuple[list[Edge], States]:
        found: list[Edge] = []
        for _ in range(2):
            edges, states = self._paired(*_sides(node), states)
            found += edges
            if node.children[-1].type == "block":
                edges, states = self(node.children[-1], states)
                found += edges
        return _merged(found), states

    def _while(self, node: Node, states: States) -> tuple[list[Edge], States]:
        found: list[Edge] = []
        for _ in range(2):
            edges, states = self._all(node.children, states)
            found += edges
        return _merged(found), states

    def _variables(self, node: Node) -> list[tuple[int, str]]:
        """Numbers and texts of the tokens below a node that are no keywords or marks."""
        known = [(self._known(token), token.type) for token in tokens(node)]
        return [(number, text) for (number, text), kind in known if kind != text]

    def _known(self, node: Node) -> tuple[int, str]:
        try:
            return self.numbers[node.start_point, node.end_point]
        except KeyError:
            raise _Incomplete from None


def _part(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    if found is None:
        raise _Incomplete
    return found


def _sides(node: Node) -> tuple[list[Node], list[Node]]:
    """Targets and values of an assignment: one by one where there are as many of each, else as they stand."""
    left, right = _part(node, "left"), _part(node, "right")
    targets = [child for child in left.children if child.type != ","]
    values = [child for child in right.children if child.type != ","]
    if len(targets) != len(values):
        return [left], [right]
    return targets or [left], values or [right]


def _merged(edges: list[Edge]) -> list[Edge]:
    """One edge a token and relation, with the sources of all."""
    known: dict[tuple[str, int, str], Edge] = {}
    for edge in edges:
        key = (edge.name, edge.token, edge.relation)
        known[key] = _joined(edge, known[key]) if key in known else edge
    return sorted(known.values(), key=lambda edge: edge.token)


def _joined(edge: Edge, known: Edge) -> Edge:
    sources, places = {*known.sources, *edge.sources}, {*known.places, *edge.places}
    return Edge(edge.name, edge.token, edge.relation, tuple(sorted(sources)), tuple(sorted(places)))


def _together(states: list[States]) -> States:
    """What is known behind branches: of every name all tokens that may have given it its value."""
    joined: dict[str, set[int]] = {}
    for one in states:
        for name, numbers in one.items():
            joined.setdefault(name, set()).update(numbers)
    return {name: sorted(numbers) for name, numbers in joined.items()}


def _text(node: Node, lines: list[str]) -> str:
    """A token's text. Columns count bytes, and are taken for characters, as the published code takes them."""
    (first, start), (last, end) = node.start_point, node.end_point
    if first == last:
        return lines[first][start:end]
    return lines[first][start:] + "".join(lines[first + 1 : last]) + lines[last][:end]
