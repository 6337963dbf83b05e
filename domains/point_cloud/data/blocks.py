"""Scenes cut into blocks, the same for training, evaluation and prediction: upright columns on a square grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCENE = ("scene",)
"""The only category of a set of scenes; a model of it sees blocks."""

SIDE = 1.0
"""Metres of a column's side in rooms; the published work on these backbones states no block protocol, so it is ours."""

FEWEST = 256
"""Points below which a column is no block: data sets leave it out, prediction takes its labels from around it."""


TILINGS = ((0.0, 0.0), (0.5, 0.5), (0.5, 0.0), (0.0, 0.5))
"""Where the grids of successive passes over a scene start, in sides of a column; data sets are cut by the first."""


def columns(
    ground: NDArray[np.floating], side: float = SIDE, shift: tuple[float, float] = TILINGS[0]
) -> list[tuple[tuple[float, float], NDArray[np.int64]]]:
    """The columns of a scene by their place in the grid, and the indices of their points in ascending order.

    Args:
        ground: (N, 2), horizontal coordinates in metres; the grid starts at their smallest ones.
        side: of a column, in metres. shift: of the grid, in sides.
    """
    cells = np.floor((ground - ground.min(0)) / side + np.asarray(shift, dtype=ground.dtype))
    (xs, across), (ys, along) = (np.unique(cells[:, axis], return_inverse=True) for axis in (0, 1))
    places, which = np.unique(across * len(ys) + along, return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which))[:-1])
    found = zip(xs[places // len(ys)], ys[places % len(ys)], parts, strict=True)
    return [((float(x), float(y)), own) for x, y, own in found]
