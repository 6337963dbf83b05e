"""Plots of numbers: curves over steps and bars to compare, and writing any figure to a file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.errors import InputError
from suite.files import atomic_file
from suite.media import fonts, style

SUFFIXES = (".png", ".svg")
# Series of more points than this are lines to be smoothed; shorter ones show their points and stay as they are.
_DENSE = 20


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str = "",
    x: str = "step",
    y: str = "",
    log: bool = False,
    smooth: float = 0.0,
) -> Figure:
    """Draw one line per series.

    Args:
        series: name to its (x, y) points in any order; points that are not finite are left out.
        title: heading of the picture.
        x: name of the horizontal axis.
        y: name of the vertical axis.
        log: logarithmic vertical axis; points at or below zero are left out.
        smooth: weight in [0, 1) of the past in an exponential moving average with bias correction; the raw points stay
            visible behind the smoothed line. 0, or at most 20 points, draws the points as they are.

    Raises:
        ValueError: `smooth` is outside [0, 1).
    """
    if not 0 <= smooth < 1:
        raise ValueError(f"smooth must be in [0, 1), not {smooth}")
    figure, axes = _axes(title, x, y)
    drawn = 0
    for index, (name, given) in enumerate(series.items()):
        points = sorted((a, b) for a, b in given if math.isfinite(a) and math.isfinite(b) and (b > 0 or not log))
        if not points:
            continue
        xs, ys = np.asarray(points, dtype=float).T
        color, pattern = style.line(index)
        marker = "o" if len(points) <= _DENSE else None
        if smooth and len(points) > _DENSE:
            axes.plot(xs, ys, color=color, alpha=0.25, linewidth=1)
            ys, marker = _moving_average(ys, smooth), None
        axes.plot(
            xs, ys, color=color, linestyle=pattern, linewidth=1.8, marker=marker, markersize=4, label=_plain(name)
        )
        drawn += 1
    if log and drawn:
        axes.set_yscale("log")
    if not drawn:
        axes.text(0.5, 0.5, "no points yet", transform=axes.transAxes, ha="center", va="center", color=style.MUTED)
    elif drawn > 1 or not y:
        axes.legend(frameon=False, fontsize=9)
    return figure


def bars(
    values: Mapping[str, float],
    *,
    title: str = "",
    y: str = "",
    errors: Mapping[str, float] | None = None,
    percent: bool = False,
) -> Figure:
    """Draw one bar per value, labelled with its figure.

    Args:
        values: name to height; a height that is not finite is written as such and drawn as nothing.
        title: heading of the picture.
        y: what the heights measure.
        errors: name to the half-length of its error bar (e.g. a standard deviation).
        percent: heights are fractions to be written as percentages.
    """
    figure, axes = _axes(title, "", y)
    heights = [value if math.isfinite(value) else 0.0 for value in values.values()]
    spread = [(errors or {}).get(name, math.nan) for name in values]
    colors = [style.line(index)[0] for index in range(len(values))]
    positions = range(len(values))
    axes.bar(positions, heights, color=colors, width=0.62, yerr=spread if errors else None, capsize=4)
    for position, value, height, error in zip(positions, values.values(), heights, spread, strict=True):
        label = f"{100 * value:.1f} %" if percent else f"{value:.4g}"
        _label_bar(axes, label, position, height, 0.0 if math.isnan(error) else error)
    crowded = sum(len(name) for name in values) > 60
    axes.set_xticks(
        positions, [_plain(name) for name in values], rotation=30 if crowded else 0, ha="right" if crowded else "center"
    )
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.12)
    if percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure


def _label_bar(axes: Axes, label: str, position: int, height: float, error: float) -> None:
    """Write a bar's figure beyond its end and the end of its error bar: above it, or below where it points down."""
    up = height >= 0
    axes.annotate(
        label,
        (position, height + math.copysign(error, height)),
        xytext=(0, 4 if up else -4),
        textcoords="offset points",
        ha="center",
        va="bottom" if up else "top",
        fontsize=9,
        color=style.INK,
    )


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as the picture that the suffix of `path` names, all or nothing; parent folders are made.

    Raises:
        InputError: the suffix is neither `.png` nor `.svg`.
    """
    data = to_bytes(figure, style.suffix_of(path))
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def to_bytes(figure: Figure, suffix: str = ".png") -> bytes:
    """The figure as an encoded picture; the same figure gives the same bytes.

    Raises:
        InputError: `suffix` is neither `.png` nor `.svg`.
    """
    if suffix not in SUFFIXES:
        raise InputError(f"a picture cannot be written as {suffix or 'a file without ending'!r}; use .png or .svg")
    buffer = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None, "Source": style.CHART}
    # Without a salt of its own, an SVG's identifiers are random.
    fonts.cover(figure)
    with rc_context({"svg.hashsalt": "suite"}), fonts.unwarned():
        figure.savefig(buffer, format=suffix[1:], dpi=style.DPI, metadata=metadata)
    return buffer.getvalue()


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = style.figure(5.6, 3.5)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=style.INK, parse_math=False)
    axes.set_xlabel(x, fontsize=9, color=style.INK, parse_math=False)
    axes.set_ylabel(y, fontsize=9, color=style.INK, parse_math=False)
    axes.grid(color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=style.INK, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(style.MUTED)
    return figure, axes


def _moving_average(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average with the bias correction of Adam (Kingma & Ba 2015, section 3)."""
    averaged, past, norm = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values):
        past = weight * past + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        averaged[index] = past / norm
    return averaged


def _plain(text: str) -> str:
    """Text for places where matplotlib offers no `parse_math`: its dollar signs stay dollar signs."""
    return text.replace("$", r"\$")
