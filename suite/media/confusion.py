"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from suite.media import plots, style

NUMBERED = 20
"""Classes up to which the cells carry their counts."""


def draw(confusion: Tensor, classes: Sequence[str]) -> Figure:
    """Shares of each target's row, (classes, classes) counts; rows are targets."""
    count = len(classes)
    shares = (confusion / confusion.sum(1, keepdim=True).clamp(min=1)).numpy()
    side = max(4.0, 0.32 * count + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), classes, rotation=90)
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    style.frame(axes)
    if count <= NUMBERED:
        for row in range(count):
            for column in range(count):
                if confusion[row, column]:
                    shade = style.PAPER if shares[row, column] > 0.5 else style.INK
                    axes.text(
                        column, row, f"{confusion[row, column]:.0f}", ha="center", va="center", color=shade, fontsize=9
                    )
    return figure


def save(confusion: Tensor, classes: Sequence[str], path: Path) -> Path:
    """Write the picture."""
    return plots.save(draw(confusion, classes), path)
