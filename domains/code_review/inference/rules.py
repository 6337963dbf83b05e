"""A small reviewer without a model: the same answer every time, in every output format.

It is what the other engines are compared with, and it works on any machine; it is never mixed with a model's findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from domains.code_review.inference.anchors import at, finding
from domains.code_review.types import FilePatch, Finding, Hunk, Line

LONG = 80
"""Added lines of a function that is too long to be read at once."""


@dataclass(frozen=True)
class Rule:
    """A pattern in added lines.

    Attributes:
        name: without `review/rules/`.
        pattern: searched in an added line.
        comment: what is said.
        suffixes: of the files that it is for; empty: all.
    """

    name: str
    pattern: re.Pattern[str]
    comment: str
    suffixes: tuple[str, ...] = ()


PYTHON = (".py", ".pyi")
SCRIPT = (".js", ".jsx", ".ts", ".tsx", ".mjs")

RULES = (
    Rule(
        "unfinished",
        re.compile(r"(?:#|//|/\*|--|;)\s*(?:TODO|FIXME|XXX)\b"),
        "This leaves something to be done: finish it here, or name the ticket that will.",
    ),
    Rule(
        "broad-except",
        re.compile(r"^\s*except\s*(?:(?:Base)?Exception\s*(?:as\s+\w+)?\s*)?:"),
        "This catches every error, also those that nobody expects; name the exceptions that can be handled here.",
        PYTHON,
    ),
    Rule(
        "debug-print",
        re.compile(r"^\s*(?:print\(|pprint\(|breakpoint\(\)|import pdb|pdb\.set_trace\(\))"),
        "Is this left over from debugging?",
        PYTHON,
    ),
    Rule(
        "debug-print",
        re.compile(r"^\s*(?:console\.(?:log|debug)\(|debugger\b)"),
        "Is this left over from debugging?",
        SCRIPT,
    ),
    Rule(
        "mutable-default",
        re.compile(r"^\s*(?:async\s+)?def\s+\w+\(.*=\s*(?:\[\]|\{\}|set\(\)|list\(\)|dict\(\))"),
        "The default is made once and shared by all calls; use None and make it inside.",
        PYTHON,
    ),
    Rule(
        "none-by-equality",
        re.compile(r"[!=]=\s*None\b"),
        "Compare with `is None` or `is not None`: `==` asks the object, which may answer anything.",
        PYTHON,
    ),
    Rule(
        "shell",
        re.compile(r"\b(?:os\.system\(|shell\s*=\s*True)"),
        "A shell reads this command; pass a list of arguments instead, so that nothing in them is run.",
        PYTHON,
    ),
    Rule(
        "evaluation",
        re.compile(r"(?<![\w.])(?:eval|exec)\("),
        "This runs text as code; where the text comes from elsewhere, so does the code.",
        (*PYTHON, *SCRIPT),
    ),
    Rule(
        "secret",
        re.compile(
            r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bgh[pousr]_[A-Za-z0-9]{36}\b|"
            r"(?i:\b(?:password|passwd|secret|api_?key|token)\b)\s*[:=]\s*[\"'][^\"'\s]{8,}[\"']"
        ),
        "This looks like a secret; whoever reads the repository has it. Take it from the environment, and replace it.",
    ),
    Rule(
        "conflict-marker",
        re.compile(r"^(?:<{7}|>{7}) "),
        "A marker of an unresolved merge.",
    ),
    Rule(
        "disabled-verification",
        re.compile(r"\bverify\s*=\s*False\b|rejectUnauthorized\s*:\s*false"),
        "Without verification anybody can answer in the server's place.",
    ),
)


def review(file: FilePatch) -> Iterator[Finding]:
    """The findings in a file's added lines, in their order."""
    gone = file.new_path is None
    for hunk in file.hunks:
        for line in hunk.lines:
            if line.kind != "+":
                continue
            for rule in RULES:
                if (not rule.suffixes or file.path.endswith(rule.suffixes)) and rule.pattern.search(line.text):
                    yield _found(file, hunk, line, rule.name, rule.comment, gone)
        for check in (_long_function,):
            yield from check(file, hunk)


def _long_function(file: FilePatch, hunk: Hunk) -> Iterator[Finding]:
    """A function of which the hunk adds more than `LONG` lines."""
    start: Line | None = None
    length = 0
    for line in [*hunk.lines, Line(" ", "")]:
        begins = re.match(r"\s*(?:async\s+)?def\s+(\w+)|\s*(?:export\s+)?(?:async\s+)?function\s+(\w+)", line.text)
        if line.kind != "+" or begins:
            if start is not None and length > LONG:
                said = f"This function is {length} lines long: smaller ones could each be named and tested."
                yield _found(file, hunk, start, "long-function", said, file.new_path is None)
            start, length = (line if begins and line.kind == "+" else None), 0
        length += line.kind == "+"


def _found(file: FilePatch, hunk: Hunk, line: Line, name: str, comment: str, gone: bool) -> Finding:
    place = at(hunk, line, gone)
    return finding(file, hunk, place, f"review/rules/{name}", line, comment=comment, engine="rules")
