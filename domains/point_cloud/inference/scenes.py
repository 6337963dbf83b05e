"""Scenes: the class of every point, block by block, as blocks are cut in training and evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.point_cloud.data import blocks, sampling

BATCH = 16
"""Samples of a block that go through the model side by side."""


def segment(
    points: NDArray[np.float64],
    scores: Callable[[Tensor], Tensor],
    npoints: int,
    *,
    normalise: bool,
    passes: int,
    seed: int,
    side: float = blocks.SIDE,
) -> NDArray[np.int64]:
    """The class (N,) of every point of a scene.

    Args:
        points: (N, 3) in metres, y up, with channels beside them. scores: log-probabilities (B, npoints, classes) of
            points (B, npoints, 3 + channels).
        npoints: points of a block that the model sees at once; a block of more goes through it in parts.
        passes: over the whole scene, whose scores are added; each but the first shifts the grid of the columns.
        side: metres of a column, as in training.
    """
    points, values = points[:, :3], points[:, 3:]
    total: Tensor | None = None
    for number in range(passes):
        shift = blocks.TILINGS[number % len(blocks.TILINGS)]
        # Training data are z-up and turned so that their x and y become z and x here.
        found = [own for _, own in blocks.columns(points[:, [2, 0]], side, shift)]
        for own in [own for own in found if len(own) >= blocks.FEWEST] or [np.arange(len(points))]:
            # In an order that the content chooses, so that the file's own has no influence.
            own = own[sampling.canonical_order(points[own])]
            placed = sampling.unit_sphere(points[own]) if normalise else points[own]
            seen = np.concatenate([placed, values[own]], 1) if values.size else placed
            block, index = torch.from_numpy(seen.astype(np.float32)), torch.from_numpy(own)
            for chosen in torch.stack(_parts(len(own), npoints, seed + number)).split(BATCH):
                shares = scores(block[chosen]).exp()  # (B, npoints, classes)
                total = torch.zeros(len(points), shares.shape[-1]) if total is None else total
                total.index_add_(0, index[chosen].flatten(), shares.flatten(0, 1))
    assert total is not None
    labels = total.argmax(-1).numpy()
    left = (total.sum(-1) == 0).numpy()
    if left.any():
        from scipy.spatial import cKDTree

        labels[left] = labels[~left][cKDTree(points[~left]).query(points[left])[1]]
    return labels


def _parts(count: int, size: int, seed: int) -> tuple[Tensor, ...]:
    """Indices (size,) that cover all points; points are repeated where there are fewer."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=rng)
    lacking = -count % size
    return torch.cat([order, torch.randint(count, (lacking,), generator=rng)]).split(size)
