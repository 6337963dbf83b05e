"""Faults that are put into functions of the made world, and what a reviewer says of them.

A fault of a kind is one of many places and forms; it counts only where a call that the function is tested with notices
it, and some call still gives a value. Kinds come in the world's two shares.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from suite.code import world
from suite.code.world import Function, Share

Rule = tuple[str, str]
"""A pattern, and what to put in its place."""

Texts = Callable[[str], Iterator[str]]
"""All texts with a fault of a kind in a text."""


@dataclass(frozen=True)
class Fault:
    """A fault in a text: its kind, the text that has it, and the comment that says so."""

    kind: str
    text: str
    comment: str


def rewritten(source: str, rules: Sequence[Rule]) -> Iterator[str]:
    """All texts that one use of one rule at one place gives."""
    for pattern, put in rules:
        for match in re.finditer(pattern, source):
            yield source[: match.start()] + match.expand(put) + source[match.end() :]


def _by(*rules: Rule) -> Texts:
    return lambda source: rewritten(source, rules)


def _early_return(source: str) -> Iterator[str]:
    if "\n    for " in source and (match := re.search(r"(?<=\n)    (return \w+)\n$", source)):
        yield f"{source[: match.start()]}        {match[1]}\n"


def _wrong_variable(source: str) -> Iterator[str]:
    names = sorted(set(_names(source)))
    for match in re.finditer(r"(?<=append\()\w+|(?<=\+= )\w+|(?<=return )\w+(?=\n)|(?<= = )\w+(?=\n)", source):
        for other in names:
            if match[0] in names and other != match[0]:
                yield source[: match.start()] + other + source[match.end() :]


def _lost_step(source: str) -> Iterator[str]:
    yield from rewritten(source, [(r"(?<=\n) +\w+(\.append\(.*\)|(\[\w+\])? \+?= .*)\n", "")])


def _names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


FAULTS: Mapping[Share, Mapping[str, Texts]] = {
    "seen": {
        "comparison": _by((r" < ", " <= "), (r" > ", " >= "), (r" <= ", " < "), (r" >= ", " > ")),
        "inverted condition": _by(
            (r"if not (\w+):", r"if \1:"), (r"if (\w+):", r"if not \1:"), (r"if (\w+) in ", r"if \1 not in ")
        ),
        "wrong start": _by((r" = 0\n", " = 1\n")),
        "swapped operands": _by((r"(\w+) (-|%|//) (\w+)(?=\n| ==|\))", r"\3 \2 \1")),
        "missing update": _by((r" \+= ", " = ")),
        "wrong index": _by((r"\[0\]", "[-1]"), (r"\[-1\]", "[0]")),
        "confused equality": _by((r" == ", " != "), (r" != ", " == ")),
    },
    "held out": {
        "off by one": _by(
            (r"range\(len\((\w+)\)\)", r"range(len(\1) - 1)"),
            (r"range\(len\((\w+)\)\)", r"range(1, len(\1))"),
            (r"range\(1, ", "range(2, "),
            (r"range\(1, ", "range("),
            (r"range\(([a-z]+)\)", r"range(\1 - 1)"),
            (r"\[:(\w+)\]", r"[:\1 - 1]"),
            (r"\[:(\w+)\]", r"[:\1 + 1]"),
            (r"\[1:\]", "[2:]"),
            (r"\[0\]", "[1]"),
            (r" - 2\]", " - 1]"),
            (r" - 1\]", "]"),
            (r" // 2\n", " // 2 + 1\n"),
        ),
        "missing guard": _by((r"(?<=\n)    if .*:\n        return .*\n(?=    \w)", "")),
        "early return": _early_return,
        "wrong operator": _by(
            (r" \* ", " + "), (r" \+ ", " - "), (r" \+ ", " * "), (r" - ", " + "), (r" // ", " * "), (r" \+= ", " -= "),
            (r" and ", " or "), (r" or ", " and "),
        ),
        "wrong default": _by(
            (r"return 0\n", "return None\n"),
            (r"return 0\n", "return 1\n"),
            (r"return -1\n", "return 0\n"),
            (r"return None\n", "return 0\n"),
            (r"return \[\]\n", "return None\n"),
            (r"(?<=        )return [a-z_]+s\n", "return []\n"),
            (r" = -1\n", " = 0\n"),
            (r" = ''\n", " = None\n"),
            (r", 0\)", ", 1)"),
        ),
        "wrong variable": _wrong_variable,
        "lost step": _lost_step,
        "wrong method": _by(
            (r"\.upper\(", ".lower("),
            (r"\.startswith\(", ".endswith("),
            (r"\.append\(", ".extend("),
            (r"\.insert\(0, ", ".append("),
            (r"sorted\((\w+)\)", r"sorted(\1, reverse=True)"),
            (r"sorted\((\w+)\)", r"list(\1)"),
            (r"\bmin\(", "max("),
            (r"\bmax\(", "min("),
            (r"\bdict\((\w+)\)", "dict()"),
        ),
    },
}  # fmt: skip


_EAGER = {
    **{"missing guard": 6.0, "off by one": 3.0, "lost step": 3.0, "wrong default": 2.0},
    **{"wrong index": 4.0, "missing update": 3.0, "wrong start": 2.0, "swapped operands": 2.0},
}
"""How much sooner than others a kind is tried that has its place in few functions, so that no kind is rare."""


def fault_in(function: Function, share: Share, rng: random.Random) -> Fault | None:
    """A fault of a function's text that its calls notice, of any kind and at any place; None where there is none."""
    kinds = FAULTS[share]
    for kind in sorted(kinds, key=lambda kind: rng.expovariate(_EAGER.get(kind, 1.0))):
        texts = sorted(set(kinds[kind](function.source)))
        for text in rng.sample(texts, len(texts)):
            if text != function.source and _parses(text) and _counts(function, text):
                return Fault(kind, text, comment_on(kind, function.source, text, rng))
    return None


def comment_on(kind: str, right: str, wrong: str, rng: random.Random) -> str:
    """What a reviewer says of a fault: its kind in one of several wordings, and the lines as they should be."""
    lines, faulty = ([line.strip() for line in text.splitlines()] for text in (right, wrong))
    if sorted(lines) == sorted(faulty):  # a line stands in another place
        missed = [lines[-1]]
    else:
        changed = SequenceMatcher(a=lines, b=faulty, autojunk=False).get_opcodes()
        missed = [line for tag, start, end, _, _ in changed if tag != "equal" for line in lines[start:end]]
    said: str = rng.choice(world.stated("comments")[kind])
    return said.format(right=" ".join(missed))


def fault_named(comment: str) -> str:
    """The kind of fault that a comment names, by the words before its code; empty where it names none."""
    for kind, wordings in world.stated("comments").items():
        if any(comment.startswith(said.partition("`")[0]) for said in wordings):
            return str(kind)
    return ""


def _counts(function: Function, text: str) -> bool:
    """Whether a call notices a text, and not only because every call fails: nobody would have to review that."""
    found = world.outcomes(text, function.name, function.calls)
    fails = all(how == "raises" for how, _ in found)
    return not fails and found != world.outcomes(function.source, function.name, function.calls)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
