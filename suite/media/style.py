"""The look that every picture shares: colours, line patterns, bare figures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
PAPER = "#ffffff"

CHART = "chart"
"""What a chart's PNG says in its `Source`: dark ink on white paper, which a dark page may turn round."""
DENSITY = 2
"""Pixels of a chart's picture a pixel of the page, so that it is sharp on screens of high density."""
DPI = 100 * DENSITY

# Hues that stay apart on white in print and for most colour-blind readers: Okabe-Ito, darkened where too pale for text.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#008f6b",
    "#b8559a",
    "#a87900",
    "#2f9fd8",
    "#7a4fb5",
    "#c0392b",
    "#5a7d2a",
    "#5c6b7a",
)
# Pale fills for shapes that carry dark text, in the order of their use.
FILLS = ("#dbeafe", "#fde8d7", "#d6f3e6", "#f6dcef", "#faedc4", "#e3ddf8", "#dfe5ea", "#fadcd9", "#e4efce", "#d2f1f5")
Pattern = Literal["-", "--", ":", "-."]
PATTERNS: tuple[Pattern, ...] = ("-", "--", ":", "-.")


def line(index: int) -> tuple[str, Pattern]:
    """Colour and line pattern of the series with this index: 40 that can be told apart, then again from the first."""
    return PALETTE[index % len(PALETTE)], PATTERNS[index // len(PALETTE) % len(PATTERNS)]


def figure(width: float, height: float) -> Figure:
    """A blank figure of `width` by `height` inches with its own canvas, outside pyplot's registry."""
    made = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(made)
    return made


def frame(axes: Axes) -> None:
    """Ink for texts, a pale frame, no tick marks: for pictures whose axes are not read off."""
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def suffix_of(path: str | Path) -> str:
    """The picture format that a file name asks for, lower case with its dot."""
    return Path(path).suffix.lower()
