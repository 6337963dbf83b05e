"""Commits as samples of two tasks: does it bring in a defect, and what does its message say. Imports no torch.

Liu et al., Delving into Parameter-Efficient Fine-Tuning in Code Change Learning, arXiv 2402.06247.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

FEATURES = ("la", "ld", "nf", "ns", "nd", "entropy", "ndev", "lt", "nuc", "age", "exp", "rexp", "sexp", "fix")
"""The experts' features in their order: lines added and deleted, files, subsystems, directories, how the lines spread
over files, developers before, lines before, changes before, age, the author's experience three times, and whether it
mends a fault."""

Layout = Literal["lines", "grouped", "tokens"]
"""How a commit's change stands in its data: line by line with what happened to each (FIRA, diffs), the added lines
before the removed ones (JIT-Fine), or as tokens that the data set has cut (MCMD)."""

Row = tuple[Literal["+", "-", " "], str]
"""What happened to a line, and the line."""


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        id: its hash, or its place in a file.
        message: what its author says of it; empty where nobody knows.
        rows: its lines, none of them blank.
        tokens: the change as its data set has cut it; empty where the rows are there.
        layout: which of the two, and in which order.
        features: the experts' 14 numbers, or none.
        defective: whether it brought in a defect; None where nobody knows.
    """

    id: str
    message: str = ""
    rows: tuple[Row, ...] = ()
    tokens: str = ""
    layout: Layout = "lines"
    features: tuple[float, ...] = ()
    defective: bool | None = None

    def lines(self, kind: Literal["+", "-"]) -> list[str]:
        """Its added or removed lines, every run of white space one blank."""
        return [" ".join(text.split()) for own, text in self.rows if own == kind]


def grouped(added: Iterable[str], removed: Iterable[str]) -> tuple[Row, ...]:
    """Rows as JIT-Fine has them: added lines first; white space is one blank, blank lines are none."""
    rows: list[Row] = []
    for kind, lines in (("+", added), ("-", removed)):
        rows += [(kind, text) for line in lines if (text := " ".join(line.split()))]  # type: ignore[misc]
    return tuple(rows)


def marked(rows: Iterable[str]) -> tuple[Row, ...]:
    """Rows out of a diff's lines with their marks, stripped; blank lines are none, what has no mark is kept."""
    found: list[Row] = []
    for row in rows:
        if row.strip():
            kind = row[0] if row[0] in "+-" else " "
            found.append((kind, row[1:].strip()))  # type: ignore[arg-type]
    return tuple(found)


def scaled(features: Sequence[float], mean: Sequence[float], deviation: Sequence[float]) -> tuple[float, ...]:
    """Features with their mean 0 and their deviation 1."""
    return tuple((x - m) / d for x, m, d in zip(features, mean, deviation, strict=True))
