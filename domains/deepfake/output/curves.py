"""What an evaluation looks like: ROC, precision and recall, F1 by threshold, scores of both classes, confusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from domains.deepfake import metrics
from domains.deepfake.metrics import Labels, Scores
from suite.media import plots, style

NAMES = ("real", "manipulated")


def draw(levels: Mapping[str, tuple[Scores, Labels]], threshold: float, title: str, path: Path) -> Path:
    """A row of five panels for each level, frames and videos.

    Args:
        levels: scores (n,) and labels (n,) by name.
    """
    figure = style.figure(15.0, 3.1 * len(levels))
    figure.set_layout_engine("constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=style.INK)
    grid = figure.subplots(len(levels), 5, squeeze=False)
    for row, (level, (scores, labels)) in zip(grid, levels.items(), strict=True):
        for axes, panel in zip(row, (_roc, _precision, _f1, _histogram, _confusion), strict=True):
            axes.tick_params(colors=style.INK, labelsize=8, length=0)
            for spine in axes.spines.values():
                spine.set_color(style.GRID)
            panel(axes, scores, labels, threshold)
            title = axes.get_title()
            axes.set_title("")  # of the middle, which the one on the left would be written across
            axes.set_title(f"{level}: {title}", loc="left", fontsize=9, color=style.INK)
    return plots.save(figure, path)


def _line(axes: Axes, x: Scores, y: Scores, title: str, names: tuple[str, str]) -> None:
    axes.set(title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel(names[0], fontsize=8)
    axes.set_ylabel(names[1], fontsize=8)
    axes.grid(color=style.GRID, linewidth=0.7)
    axes.plot(x, y, color=style.line(0)[0], linewidth=1.6)


def _undefined(axes: Axes, title: str) -> None:
    axes.set(title=title, xticks=[], yticks=[])
    axes.text(0.5, 0.5, metrics.UNDEFINED, ha="center", va="center", color=style.MUTED, transform=axes.transAxes)


def _roc(axes: Axes, scores: Scores, labels: Labels, threshold: float) -> None:
    curve, area = metrics.roc(scores, labels), metrics.auroc(scores, labels)
    if curve is None:
        return _undefined(axes, "ROC")
    _line(axes, curve.fpr, curve.tpr, f"ROC, AUROC {area:.3f}", ("false positive rate", "true positive rate"))
    axes.plot([0, 1], [1, 0], color=style.MUTED, linewidth=0.8, linestyle=":")  # the equal error rate is on it
    return None


def _precision(axes: Axes, scores: Scores, labels: Labels, threshold: float) -> None:
    curve, mean = metrics.precision_recall(scores, labels), metrics.average_precision(scores, labels)
    if curve is None:
        return _undefined(axes, "precision and recall")
    _line(axes, curve[1], curve[0], f"AP of manipulated {mean:.3f}", ("recall", "precision"))
    return None


def _f1(axes: Axes, scores: Scores, labels: Labels, threshold: float) -> None:
    cuts = np.linspace(0, 1, 101)
    tables = [metrics.confusion(scores, labels, cut) for cut in cuts]
    f1 = np.array([2 * t[1, 1] / max(1, 2 * t[1, 1] + t[0, 1] + t[1, 0]) for t in tables])
    _line(axes, cuts, f1, f"F1 of manipulated, best {f1.max():.3f}", ("threshold", "F1"))
    axes.axvline(threshold, color=style.line(1)[0], linewidth=1, linestyle="--")


def _histogram(axes: Axes, scores: Scores, labels: Labels, threshold: float) -> None:
    for label, name in enumerate(NAMES):
        own = np.asarray(scores)[np.asarray(labels) == label]
        axes.hist(own, bins=np.linspace(0, 1, 26).tolist(), alpha=0.6, color=style.line(2 - label)[0], label=name)
    axes.axvline(threshold, color=style.INK, linewidth=1, linestyle="--")
    axes.set(title="scores")
    axes.set_xlabel("score", fontsize=8)
    axes.legend(frameon=False, fontsize=8)


def _confusion(axes: Axes, scores: Scores, labels: Labels, threshold: float) -> None:
    table = metrics.confusion(scores, labels, threshold)
    shares = table / np.maximum(1, table.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=f"at threshold {threshold:.3f}", xticks=[0, 1], yticks=[0, 1])
    axes.set_xticklabels(NAMES, fontsize=8)
    axes.set_yticklabels(NAMES, fontsize=8, rotation=90, va="center")
    axes.set_xlabel("called", fontsize=8)
    for row in range(2):
        for column in range(2):
            color = style.PAPER if shares[row, column] > 0.5 else style.INK
            text = f"{table[row, column]}\n{100 * shares[row, column]:.1f} %"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
