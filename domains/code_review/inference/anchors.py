"""Where a comment stands that a model gave for a whole hunk, and what tells it from others in the next run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby

from domains.code_review.types import FilePatch, Finding, Hunk, Line, Side


@dataclass(frozen=True)
class Anchor:
    """A place in a hunk.

    Attributes:
        side, line, start_line, first, last, nearest: as a Finding has them.
    """

    side: Side
    line: int
    start_line: int | None
    first: int
    last: int
    nearest: int | None


def anchor(hunk: Hunk, deleted: bool = False) -> Anchor:
    """The last added line of the first changed run; where that run only deletes, its last deleted line.

    Args:
        deleted: the file is gone, and no line of it is left to stand at.

    Raises:
        ValueError: the hunk changes nothing.
    """
    run = _first_run(hunk)
    added = [line.new for line in run if line.new is not None]
    if added:
        first, last = _bounds(hunk.new_start, hunk.new_count)
        return Anchor("RIGHT", added[-1], _start(added), first, last, added[-1])
    gone = [line.old for line in run if line.old is not None]
    first, last = _bounds(hunk.old_start, hunk.old_count)
    return Anchor("LEFT", gone[-1], _start(gone), first, last, None if deleted else _nearest(hunk, run[-1]))


def at(hunk: Hunk, line: Line, deleted: bool = False) -> Anchor:
    """The place of one line of a hunk."""
    if line.new is not None:
        return Anchor("RIGHT", line.new, None, *_bounds(hunk.new_start, hunk.new_count), line.new)
    assert line.old is not None
    nearest = None if deleted else _nearest(hunk, line)
    return Anchor("LEFT", line.old, None, *_bounds(hunk.old_start, hunk.old_count), nearest)


def over(hunk: Hunk, start: int, end: int) -> Anchor:
    """The place of lines of the new file, from one to another, both inside."""
    return Anchor("RIGHT", end, start if start < end else None, *_bounds(hunk.new_start, hunk.new_count), end)


def finding(
    file: FilePatch, hunk: Hunk, place: Anchor, rule: str, about: Line | None = None, **said: object
) -> Finding:
    """A finding at a place.

    Args:
        about: the one line that it is about; its fingerprint is then of that line alone.
        said: further fields of it.
    """
    path = file.path if place.side == "RIGHT" or file.new_path is not None else (file.old_path or "")
    return Finding(
        path=path,
        side=place.side,
        line=place.line,
        hunk=hunk.title(),
        first=place.first,
        last=place.last,
        rule=rule,
        start_line=place.start_line,
        nearest=place.nearest,
        fingerprint=fingerprint(path, hunk.changed if about is None else (about,), rule),
        **said,  # type: ignore[arg-type]
    )


def fingerprint(path: str, lines: Iterable[Line], rule: str) -> str:
    """A hash of path and lines without their indentation: the same when they move."""
    changed = "\n".join(line.kind + line.text.strip() for line in lines)
    return sha256(f"{path}\0{rule}\0{changed}".encode("utf-8", "surrogateescape")).hexdigest()


def _first_run(hunk: Hunk) -> list[Line]:
    for changed, lines in groupby(hunk.lines, lambda line: line.kind != " "):
        if changed:
            return list(lines)
    raise ValueError("the hunk changes nothing")


def _nearest(hunk: Hunk, gone: Line) -> int:
    """The line of the new file next to a deleted one: the one before, or the one after at a file's beginning."""
    before = [line.new for line in hunk.lines[: hunk.lines.index(gone)] if line.new is not None]
    if before:
        return before[-1]
    # A hunk without new lines before it names in its header the line that precedes it.
    return max(hunk.new_start if hunk.new_count == 0 else hunk.new_start - 1, 1)


def _start(numbers: list[int]) -> int | None:
    """The first of the numbers that lead up to the last without a gap; None where that is the last itself."""
    return numbers[0] if numbers[0] < numbers[-1] else None


def _bounds(start: int, count: int) -> tuple[int, int]:
    return start, start + max(count, 1) - 1
