"""What CodeReviewer's published code makes of a hunk, to rerun its baseline and to compare on equal inputs.

Source: utils.py of CodeReviewer (arXiv 2203.09095). Its oddities are kept on purpose and named where they stand.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from domains.code_review.model import marks
from domains.code_review.model.encoding import text_of
from domains.code_review.types import NO_NEWLINE, Hunk

BUDGET = 200
"""Words and lines, one each, of a hunk with its surroundings."""

REMOVED, ADDED, KEPT, CONTEXT = 0, 1, 2, -100
"""Labels of lines; those around a hunk have the label that no loss counts."""

_HEADER = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@")
_TAGS = {"-": "<del>", "+": "<add>"}
_LABELS = {"-": REMOVED, "+": ADDED}
_BLANKS = " \t\r"


@dataclass(frozen=True)
class Surrounded:
    """A hunk with lines of the old file around it, for the decision whether it needs a review."""

    lines: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def text(self) -> str:
        """The lines as one text, joined by the token that ends each."""
        return "<e0>".join(self.lines)


def surrounded(patch: str, old_file: str, budget: int = BUDGET) -> Surrounded | None:
    """A hunk in its file; None where the published code drops it.

    It drops hunks whose header leaves out a count, as git does for a count of 1, and those without a visible line.

    Args:
        patch: one hunk that begins with its header.
        old_file: the whole old file.
        budget: words and lines, one each.
    """
    header, *rows = patch.split("\n")
    match = _HEADER.match(header)
    if match is None:
        return None
    start = int(match[1]) - 1
    old = old_file.split("\n")
    before, after = _visible(old[:start]), _visible(old[start + int(match[2]) :])
    pairs = [(row[1:] if row[:1] in _LABELS else row, _LABELS.get(row[:1], KEPT)) for row in rows if row != NO_NEWLINE]
    pairs = [(line.strip(_BLANKS), label) for line, label in pairs]
    kept = deque(pair for pair in pairs if pair[0])
    if not kept:
        return None
    size = sum(map(_cost, kept))
    # The published code alternates by the number of lines taken from the left, which stays odd after the first.
    from_left = True
    while size > budget:
        size -= _cost(kept.popleft() if from_left else kept.pop())
        from_left = False
    _surround(kept, before, after, budget - size)
    return Surrounded(tuple(line for line, _ in kept), tuple(label for _, label in kept))


def _surround(kept: deque[tuple[str, int]], before: list[str], after: list[str], room: int) -> None:
    """Add lines from the nearest on, one before and one after by turns, up to the first that finds no room."""
    for step in range(max(len(before), len(after))):
        for lines, add in ((before[::-1], kept.appendleft), (after, kept.append)):
            if step < len(lines):
                pair = (lines[step], CONTEXT)
                if _cost(pair) > room:
                    return
                add(pair)
                room -= _cost(pair)
        if room <= 0:
            return


def decision_source(hunk: Hunk, old_file: str = "") -> str | None:
    """A hunk in its file between marks, as the decision reads it; None where it has no visible line.

    The published code drops hunks whose header leaves out a count; ours always writes both.
    """
    header = f"@@ -{hunk.old_start},{hunk.old_count} +{hunk.new_start},{hunk.new_count} @@"
    found = surrounded("\n".join([header, *hunk.rows()]), old_file)
    if found is None or all(label == CONTEXT for label in found.labels):
        return None
    return marks.of_hunk(found.lines, found.labels)


def hunk_source(hunk: Hunk) -> str:
    """A hunk as the comment model reads it."""
    return comment_source(text_of(hunk))


def comment_source(patch: str) -> str:
    """A hunk as the comment model reads it; its first line goes, whatever that is, and so do blank ones."""
    rows = [row for row in patch.split("\n")[1:] if row.strip()]
    return "".join(_TAGS.get(row[0], "<keep>") + row[1:].strip() for row in rows)


def refinement_source(rows: str, plain: bool = False) -> str:
    """Lines of a hunk as the refinement model reads and writes them; indentation and marks are lost.

    Args:
        rows: lines, each with its mark.
        plain: joined by blanks, the simpler of the two published forms.
    """
    lines = [row[1:].strip() for row in rows.split("\n")]
    return " ".join(lines) if plain else "".join(f"<add>{line}" for line in lines)


def refinement_pair(prediction: str, gold: str) -> tuple[str, str]:
    """A model's text and the right lines, as the published evaluation compares them."""
    return " ".join(prediction.split()).replace("<add> ", ""), refinement_source(gold, plain=True)


def _visible(lines: list[str]) -> list[str]:
    return [bare for line in lines if (bare := line.strip(_BLANKS))]


def _cost(pair: tuple[str, int]) -> int:
    return 1 + len(pair[0].split())
