"""Generated bodies of Java tests: whether they parse, and what is left of them when what does not is cut off.

The study parses a body inside a class of its own, cuts it before the line of the first error, closes what stands open,
and counts what then parses as valid. Its parser is ANTLR's, whose verdict is found here on tree-sitter's tree: on the
golden cases both name the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.code.syntax import parse

if TYPE_CHECKING:
    from tree_sitter import Node

WRAPPER = "class dummyTest {\n        @Test\n        public void dummy() {\n    "
"""What stands before a body when it is parsed; its last line is the body's first."""
_WRAPPED = WRAPPER.count("\n")
EMPTY = "}\n\n}"
"""What is left of a body of which nothing parses."""

_STRINGS = re.compile(r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TYPES = ("class", "interface", "enum", "record", "@", "public", "abstract", "final", "private", "protected", "static")


@dataclass(frozen=True)
class Repaired:
    """A body after the repair.

    Attributes:
        body: as it is used from here on. valid: whether it counts as valid. parsed: whether it parsed as it was.
    """

    body: str
    valid: bool
    parsed: bool


def repair(body: str, parity: bool = False) -> Repaired:
    """Cut a body before its first error and close it.

    Args:
        body: what follows the opening brace of a test method.
        parity: where the cut reaches into the wrapper, leave it in the body and count it as valid, as the study does.
    """
    whole = WRAPPER + body
    parsed = error_line(whole) is None
    fixed = whole
    while (line := error_line(fixed)) is not None:
        lines = fixed.split("\n")[: line - 1]
        if len(lines) <= 1:
            return Repaired("", False, parsed)
        closed = _closed(lines)
        if error_line(closed) is None:
            fixed = closed
            break
        fixed = "\n".join(lines)
    if not fixed.startswith(WRAPPER):
        return Repaired(fixed, parity, parsed) if parity else Repaired(EMPTY, False, parsed)
    left = fixed.removeprefix(WRAPPER)
    return Repaired(left, left != EMPTY, parsed)


def valid_share(bodies: list[str], parity: bool = False) -> float:
    """Share of bodies that count as valid after the repair."""
    return sum(repair(body, parity).valid for body in bodies) / len(bodies) if bodies else 0.0


def error_line(source: str) -> int | None:
    """The line of the first error of a Java file, counted from 1; None where there is none.

    As with the study's grammar, which does not ask for the file's end, what follows the classes is no error unless it
    begins another one.
    """
    root = parse(source, "java")
    if not root.has_error:
        return None
    lines = source.split("\n")
    found = []
    wrong = [node for node in _below(root) if node.is_error or node.is_missing]
    for node in wrong:
        line = node.start_point.row + 1
        if node.is_missing and node.type == "}":
            line = len(lines)  # found missing where the file ends
        elif _behind_classes(node, root):
            continue
        elif line <= _WRAPPED:
            # All of the file in one error: something in it is not closed, and that is noticed at its end.
            line = len(lines)
        found.append(line)
    if (open_string := _open_string(source)) is not None:
        found.append(open_string)
    return min(found, default=None)


def _closed(lines: list[str]) -> str:
    """Lines with their class closed; lines that leave more or less open are dropped from the end."""
    kept = list(lines)
    while kept:
        text = "\n".join(kept)
        level = text.count("{") - text.count("}")
        if level in (0, 1, 2):
            return text + {0: "", 1: "\n\n}", 2: "\n    }\n\n}"}[level]
        kept.pop()
    return ""


def _behind_classes(node: Node, root: Node) -> bool:
    """Whether an error stands behind the last class and begins no other one."""
    if node.parent is None or node.parent.id != root.id or not node.is_error:
        return False
    before = [child for child in root.children if child.end_byte <= node.start_byte]
    first = (node.text or b"").decode("utf-8", "replace").lstrip()
    return any(child.type == "class_declaration" for child in before) and not first.startswith(_TYPES)


def _open_string(source: str) -> int | None:
    """The line of the first quote that is not closed on it."""
    bare = _STRINGS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    at = min((place for place in (bare.find('"'), bare.find("'")) if place >= 0), default=None)
    return None if at is None else bare.count("\n", 0, at) + 1


def _below(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _below(child)
