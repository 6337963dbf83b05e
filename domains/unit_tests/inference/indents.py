"""Generation of Python tests that ends where something else than a test begins, and what is left of one that was cut.

A model without an end token goes on for ever: with more tests, with the next file. Its answer is over at the first line
in the first column that begins no further test, and behind as many tests as were asked for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_BEGINNINGS = ("def test", "async def test", "@", ")", "]", "}", "#")
"""What a line in the first column may be: another test, its decorator, the end of a bracket, a comment."""
_TEST = re.compile(r"(?:async )?def test")
_QUOTES = re.compile(r'"""|\'\'\'')


def ended(text: str, tests: int) -> bool:
    """Whether an answer is over.

    Args:
        text: all tests so far, the first one's `def` too. tests: how many were asked for.
    """
    return _end(text, tests, complete=False) is not None


def finished(text: str, tests: int, complete: bool) -> str:
    """The tests of an answer: cut where it is over, the last statement left out where it is not whole.

    Args:
        text, tests: as for `ended`.
        complete: whether the model ended its answer; otherwise the last line may be half a line.

    Returns:
        Python; the answer as it stands where no beginning of it is any.
    """
    end = _end(text, tests, complete)
    lines = text[:end].rstrip().split("\n")
    if end is None and not complete:
        lines = lines[:-1]
    for count in range(len(lines), 0, -1):
        kept = "\n".join(lines[:count]).rstrip() + "\n"
        if _is_python(kept):
            return kept
    return text[:end].rstrip() + "\n"


def _end(text: str, tests: int, complete: bool) -> int | None:
    """Where what is no test any more begins; None where nothing does."""
    found = 0
    for start, line, last in _lines(text):
        whole = complete or not last
        if _TEST.match(line):
            found += 1
        elif not line.startswith(_BEGINNINGS) and (whole or not any(one.startswith(line) for one in _BEGINNINGS)):
            return start
        if found > tests or (found == tests and line.startswith(("@", "#"))):
            return start
    return None


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Lines with something in the first column, outside of strings of several lines: where, what, whether the last."""
    start, quoted = 0, False
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line[:1].strip() and not quoted:
            yield start, line, number == len(lines) - 1
        quoted ^= len(_QUOTES.findall(line)) % 2 == 1
        start += len(line) + 1


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
