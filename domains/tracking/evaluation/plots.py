"""Curves and bars of several trackers, and their table as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from domains.tracking import metrics
from domains.tracking.evaluation.success import ScoredTracker
from suite.media import plots, style

KINDS = {
    "success": ("Success", metrics.SUCCESS, "success", "auc", "overlap", "AUC"),
    "precision": ("Precision", metrics.PRECISION, "precision", "precision", "error of the middle, pixels", "at 20"),
    "norm_precision": (
        *("Normalised precision", metrics.NORMALISED, "normalised", "norm_precision"),
        *("error of the middle, sizes of the box", "at 0.2"),
    ),
}


def draw_curves(scored: Sequence[ScoredTracker], kind: str, folder: Path) -> list[Path]:
    """The curves of `success`, `precision` or `norm_precision`, the best tracker first in the legend."""
    title, thresholds, name, figure, x, said = KINDS[kind]
    order = sorted(scored, key=lambda one: -one.mean.figures[figure])
    series = {
        f"{one.tracker} [{one.mean.figures[figure]:.3f} {said}]": list(
            zip(thresholds.tolist(), getattr(one.mean, name).tolist(), strict=True)
        )
        for one in order
    }
    return [plots.save(plots.curves(series, title=title, x=x, y="share of frames"), folder / f"{kind}.png")]


def draw_attributes(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Bars of every tracker's AUC for each attribute."""
    trackers = [name for name in rows[0] if name not in ("attribute", "sequences")]
    figure = style.figure(max(5.6, 0.9 * len(rows) + 1.5), 3.8)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(trackers)
    for place, name in enumerate(trackers):
        middles = [row + (place - (len(trackers) - 1) / 2) * width for row in range(len(rows))]
        axes.bar(middles, [row[name] for row in rows], width * 0.92, color=style.line(place)[0], label=name)
    axes.set_xticks(
        range(len(rows)), [f"{row['attribute']} ({row['sequences']})" for row in rows], rotation=25, ha="right"
    )
    axes.set_ylabel("AUC")
    axes.set_title("AUC by attribute (sequences)", loc="left", fontsize=11, fontweight="bold", color=style.INK)
    axes.grid(color=style.GRID, linewidth=0.8, axis="y")
    axes.set_axisbelow(True)
    style.frame(axes)
    axes.legend(frameon=False, fontsize=9, ncols=min(4, len(trackers)), loc="upper center", bbox_to_anchor=(0.5, -0.32))
    return [plots.save(figure, folder / "attributes.png")]


def draw_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """The trackers' figures as a picture, for slides."""
    return [plots.save(_table(rows), folder / "trackers.png")]


def _table(rows: Sequence[Mapping[str, Any]]) -> Figure:
    columns = list(rows[0])
    cells = [["" if row[name] is None else _shown(row[name]) for name in columns] for row in rows]
    figure = style.figure(1.6 + 0.75 * len(columns), 0.55 + 0.32 * len(rows))
    axes = figure.add_subplot()
    axes.set_axis_off()
    widths = [2.2, 1.25, *([1.0] * (len(columns) - 2))]
    total = sum(widths)
    table = axes.table(
        cells, colLabels=columns, cellLoc="right", loc="center", colWidths=[width / total for width in widths]
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor(style.GRID)
        cell.set_text_props(color=style.INK, weight="bold" if row == 0 else "normal")
        if column == 0:
            cell.set_text_props(ha="left")
    return figure


def _shown(value: Any) -> str:
    return (
        f"{value:.3f}"
        if isinstance(value, float) and value <= 1
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
