"""Pictures of reviews: a diff with its comments where they stand."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from domains.code_review.output.plain import controlled
from domains.code_review.types import Finding, Hunk, Line, Review
from suite.media import fonts, plots, style

MOST_ROWS = 60
"""Rows of a picture; a page shows the rest."""

_WIDE, _ROW = 88, 0.19  # characters of a row, inches of its height
_INKS = {"+": "#0b6e3a", "-": "#a4262c", " ": style.INK}
_GROUNDS = {"+": "#e6ffec", "-": "#ffebe9", "file": "#dfe5ea", "hunk": "#f1f4f7", "said": "#fff8e1", "fix": "#eaf2fd"}
_CALM = "#a87900"

Ground = Literal["+", "-", " ", "file", "hunk", "said", "fix"]


@dataclass(frozen=True)
class _Row:
    text: str
    ground: Ground
    number: str = ""


def drawn(result: Review, path: Path, title: str = "") -> Path:
    """Draw a review: each file's changes, comments below the lines that they are on, suggestions below those.

    Args:
        path: of the picture.
        title: above it.
    """
    rows = _rows(result)
    if len(rows) > MOST_ROWS:
        rows = [*rows[: MOST_ROWS - 1], _Row(f"… {len(rows) - MOST_ROWS + 1} more rows", "hunk")]
    height = _ROW * (len(rows) + (2 if title else 1))
    figure = style.figure(9, height)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, _WIDE + 8)
    axes.set_ylim(height / _ROW, 0)
    axes.axis("off")
    top = 0.5
    if title:
        axes.text(1.5, 1.0, title, color=style.INK, fontsize=11, va="center")
        top = 1.7
    for at, row in enumerate(rows, 1):
        _draw(axes, row, top + at - 1)
    fonts.cover(figure)
    with fonts.unwarned():
        return plots.save(figure, path)


def _draw(axes: Axes, row: _Row, top: float) -> None:
    said = row.ground in ("said", "fix")
    if row.ground in _GROUNDS:
        left = 6.5 if said else 0.0
        axes.add_patch(_block(left, top, _WIDE + 8 - left - (2 if said else 0), _GROUNDS[row.ground]))
    if said:
        color = _CALM if row.ground == "said" else style.PALETTE[0]
        axes.add_patch(_block(6.5, top, 0.35, color))
    if row.number:
        number = axes.text(5.2, top + 0.5, row.number, color=style.MUTED, fontsize=8, family="monospace")
        number.set(ha="right", va="center")
    face = "sans-serif" if row.ground == "said" else "monospace"
    ink = _INKS.get(row.ground, style.INK)
    weight = "bold" if row.ground == "file" else "normal"
    x = 1.5 if row.ground in ("file", "hunk") else (7.6 if said else 6.5)
    axes.text(x, top + 0.5, row.text, color=ink, fontsize=9, family=face, weight=weight, va="center", parse_math=False)


def _block(left: float, top: float, width: float, color: str) -> Rectangle:
    return Rectangle((left, top), width, 1.02, facecolor=color, linewidth=0)


def _rows(result: Review) -> list[_Row]:
    rows: list[_Row] = []
    for file in result.diff:
        if file.path in result.passed_over:
            continue
        found = [finding for finding in result.findings if finding.path == file.path]
        rows.append(_Row(_cut(controlled(file.path)), "file"))
        for hunk in file.hunks:
            rows.append(_Row(_cut(hunk.title()), "hunk"))
            rows += _hunk_rows(hunk, [finding for finding in found if finding.hunk == hunk.title()])
    return rows


def _hunk_rows(hunk: Hunk, found: list[Finding]) -> list[_Row]:
    rows: list[_Row] = []
    for line in hunk.lines:
        number = line.new if line.kind != "-" else line.old
        rows.append(_Row(_cut(f"{line.kind} {_plain(line)}"), line.kind, str(number or "")))
        for finding in found:
            side = line.new if finding.side == "RIGHT" else line.old
            if side == finding.line and (finding.side == "RIGHT") == (line.kind != "-"):
                rows += _said(finding)
    return rows


def _said(finding: Finding) -> list[_Row]:
    need = "" if finding.need is None else f"  ({finding.need:.0%} likely to need a review)"
    text = (controlled(finding.comment) or "This change needs a review.") + need
    rows = [_Row(line, "said") for line in textwrap.wrap(text, _WIDE + 16)]
    if finding.suggestion is not None:
        first = finding.suggestion.start
        lines = [_cut(controlled(line)) for line in finding.suggestion.lines]
        rows += [_Row(line, "fix", str(number)) for number, line in enumerate(lines, first)]
    return rows


def _plain(line: Line) -> str:
    return controlled(line.text.removesuffix("\r")).expandtabs(4)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"
