"""Hunks that are too long to be read at once, cut into parts that are hunks themselves. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from domains.code_review.types import Hunk
from suite.generation.chat import longest


def parts(hunk: Hunk, fits: Callable[[Hunk], bool]) -> Iterator[Hunk]:
    """The hunk itself where it fits, else parts that do and that change something, each with numbers of its own.

    They end at an unchanged line where there is one in the second half of what fits. A line that does not fit alone is
    left out.

    Args:
        fits: must hold for every beginning of a hunk that it holds for.
    """
    if fits(hunk):
        yield hunk
        return
    rest = hunk
    while rest.lines:
        count = longest(len(rest.lines), lambda number, of=rest: fits(_slice(of, 0, number)))  # type: ignore[misc]
        if count and count < len(rest.lines):
            count = _at_context(rest, count)
        if count and (part := _slice(rest, 0, count)).changed:
            yield part
        rest = _slice(rest, max(count, 1), len(rest.lines))


def _at_context(hunk: Hunk, count: int) -> int:
    """The last unchanged line in the second half of the first `count`, behind which to cut; `count` without one."""
    return next((n for n in range(count, count // 2, -1) if hunk.lines[n - 1].kind == " "), count)


def _slice(hunk: Hunk, start: int, stop: int) -> Hunk:
    """Some of a hunk's lines as a hunk; starts are those of its first lines, as far as it has any on a side."""
    before, lines = hunk.lines[:start], hunk.lines[start:stop]
    old = hunk.old_start + sum(line.kind != "+" for line in before)
    new = hunk.new_start + sum(line.kind != "-" for line in before)
    # Without lines on a side, a header names the line before.
    if hunk.old_count and lines and all(line.kind == "+" for line in lines):
        old -= 1
    if hunk.new_count and lines and all(line.kind == "-" for line in lines):
        new -= 1
    return replace(hunk, old_start=old, new_start=new, lines=lines, header="")
