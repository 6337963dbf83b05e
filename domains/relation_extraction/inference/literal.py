"""Reading one generated line as a triple without ever running it.

`literal` reads what Python writes for a list of strings. `salvage` reads what models write instead: tuples, JSON,
`<a | r | b>`, smart quotes, missing quotes, objects with `head`, `relation`, `tail`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

LONGEST_LINE = 4096
DEEPEST_NESTING = 3

_STRING_OR_BRACKET = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\[({]|[\])}]""")
_NUMBERING = re.compile(r"^\s*(?:\(?\d{1,3}[.):]|[-*•–])\s+")
_OPENING_QUOTE = re.compile(r"([\[(,]\s*)[“”„«‘’]")
_CLOSING_QUOTE = re.compile(r"[“”»‘’](\s*[,\])])")
_BRACKETS = {"[": "]", "(": ")", "<": ">"}


def literal(line: str) -> Any:
    """Return the value of a Python literal.

    Raises:
        ValueError: `line` is no literal, longer than `LONGEST_LINE` characters or nested deeper than `DEEPEST_NESTING`.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} characters")
    if sum(map(line.count, "[({")) > DEEPEST_NESTING and _depth(line) > DEEPEST_NESTING:
        raise ValueError(f"nested deeper than {DEEPEST_NESTING}")
    try:
        with warnings.catch_warnings():
            # `'\d'` is valid but warned about; a run that turns warnings into errors must read it all the same.
            warnings.simplefilter("ignore")
            return ast.literal_eval(line)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a literal: {error}") from None


def _depth(line: str) -> int:
    """How deep brackets outside of strings are nested in `line`."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(line):
        depth += {"[": 1, "(": 1, "{": 1, "]": -1, ")": -1, "}": -1}.get(match[0], 0)
        deepest = max(deepest, depth)
    return deepest


def unnumbered(line: str) -> str:
    """`line` without a list number or bullet before it."""
    return _NUMBERING.sub("", line, count=1).strip()


def unquoted(text: str) -> str:
    """`text` without one pair of quotes around it."""
    text = text.strip()
    if len(text) > 1 and (text[0] + text[-1]) in ("''", '""', "“”", "‘’", "«»", "``"):
        return text[1:-1].strip()
    return text


def salvage(line: str, relations: Sequence[str]) -> list[Any]:
    """Read a line that means one or several triples.

    Args:
        relations: names that may stand between head and tail: they tell the commas that separate from those in names.

    Returns:
        a list of values, each a list of three strings where it is a triple.

    Raises:
        ValueError: nothing can be made of the line.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} characters")
    line = unnumbered(line).rstrip(",;. ")
    for candidate in (line, _CLOSING_QUOTE.sub(r'"\1', _OPENING_QUOTE.sub(r'\1"', line))):
        try:
            value = literal(candidate)
        except ValueError:
            continue
        several = isinstance(value, list | tuple) and all(isinstance(item, list | tuple | dict) for item in value)
        return [_fields(item) for item in (value if several else [value])]
    return [_bare(line, relations)]


def _fields(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict) and value.keys() >= {"head", "relation", "tail"}:
        return [value["head"], value["relation"], value["tail"]]
    return value


def _bare(line: str, relations: Sequence[str]) -> list[str]:
    """Read a triple without quotes: three fields between bars, or a known relation between two commas."""
    bracketed = len(line) > 1 and _BRACKETS.get(line[0]) == line[-1]
    body = line[1:-1] if bracketed else line
    for separator in ("|", "\t"):
        fields = [unquoted(field) for field in body.split(separator)]
        if len(fields) == 3:
            return fields
    if bracketed:
        for relation in sorted(relations, key=len, reverse=True):
            match = re.search(rf",\s*['\"]?{re.escape(relation)}['\"]?\s*,", body)
            if match:
                return [unquoted(body[: match.start()]), relation, unquoted(body[match.end() :])]
    raise ValueError("not a triple")
