"""Scenes cut into blocks, the same for training, evaluation and prediction: columns of one square metre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCENE = ("scene",)
"""The only category of a set of scenes; a model of it sees blocks."""

SIDE = 1.0
"""Metres of a column's side; the published work on these backbones states no block protocol, so this one is ours."""

FEWEST = 256
"""Points below which a column is no block: data sets leave it out, prediction takes its labels from around it."""


def columns(ground: NDArray[np.floating]) -> list[tuple[tuple[float, float], NDArray[np.int64]]]:
    """The columns of a scene by their place in the grid, and the indices of their points in ascending order.

    Args:
        ground: (N, 2), horizontal coordinates in metres; the grid starts at their smallest ones.
    """
    cells = np.floor((ground - ground.min(0)) / SIDE)
    places, which = np.unique(cells, axis=0, return_inverse=True)
    which = which.reshape(-1)  # NumPy 2.0 alone gives a second axis
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which))[:-1])
    return [((float(x), float(y)), own) for (x, y), own in zip(places, parts, strict=True)]
