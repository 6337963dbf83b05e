"""Labelled cases of the three tasks, whatever they were read from. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from domains.code_review.model.wording import Task
from domains.code_review.types import Hunk, Line, numbered

_HEADER = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")


@dataclass(frozen=True)
class Example:
    """One question and its answer.

    Attributes:
        id: of the case in its file, or in the made world.
        answer: `yes` or `no`, a comment, or the revised code.
        hunk: what is asked about; None where it is plain code.
        code: the plain code; for a refinement the lines to revise.
        comment: what a refinement is to answer.
        language: of the code; empty where it is not known.
        old_file: the whole file before the change, where a decision may look at lines around the hunk.
    """

    id: str
    task: Task
    answer: str
    hunk: Hunk | None = None
    code: str = ""
    comment: str = ""
    language: str = ""
    old_file: str = ""


@dataclass(frozen=True)
class Pair:
    """One sample as token ids.

    Attributes:
        source: what the encoder reads.
        target: what the decoder writes; empty where a class is asked for.
        label: the class; None where a text is asked for.
        truncated: something of the source was cut.
    """

    source: list[int]
    target: list[int]
    label: int | None = None
    truncated: bool = False


def hunk_of(patch: str) -> Hunk | None:
    """One hunk with its header, as data sets keep it; None where the text begins with no header.

    The header's starts are kept and its counts are not: in one of the published files they are wrong.
    """
    header, *rows = patch.split("\n")
    match = _HEADER.fullmatch(header.rstrip("\r"))
    if match is None:
        return None
    if rows and not rows[-1]:
        rows.pop()
    lines = tuple(_line(row) for row in rows if not row.startswith("\\"))
    old, new = int(match[1]), int(match[2])
    return Hunk(old, new, numbered(lines, old, new), match[3])


def unmarked(rows: str) -> str:
    """Lines of a hunk without their marks, white space kept; what git says of a missing line feed goes."""
    return "\n".join(row[1:] for row in rows.split("\n") if not row.startswith("\\"))


def _line(row: str) -> Line:
    kind = row[:1]
    return Line(kind, row[1:]) if kind in ("+", "-", " ") else Line(" ", row)  # type: ignore[arg-type]
