"""Scenes: the class of every point, block by block, as blocks are cut in training and evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.point_cloud.data import blocks
from domains.point_cloud.data import points as sampling

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
) -> NDArray[np.int64]:
    """The class (N,) of every point of a scene.

    Args:
        points: (N, 3) in metres, y up. scores: log-probabilities (B, npoints, classes) of points (B, npoints, 3).
        npoints: points of a block that the model sees at once; a block of more goes through it in parts.
        passes: parts in which each point is at least.
    """
    # Training data are z-up and turned so that their x and y become z and x here.
    found = [own for _, own in blocks.columns(points[:, [2, 0]])]
    whole = [own for own in found if len(own) >= blocks.FEWEST] or [np.arange(len(points))]
    labels = np.full(len(points), -1, dtype=np.int64)
    for own in whole:
        # In an order that the content chooses, so that the file's own has no influence.
        own = own[sampling.canonical_order(points[own])]
        placed = sampling.unit_sphere(points[own]) if normalise else points[own]
        block = torch.from_numpy(placed.astype(np.float32))
        total: Tensor | None = None
        for chosen in torch.stack(_parts(len(own), npoints, passes, seed)).split(BATCH):
            shares = scores(block[chosen]).exp()  # (B, npoints, classes)
            total = torch.zeros(len(own), shares.shape[-1]) if total is None else total
            total.index_add_(0, chosen.flatten(), shares.flatten(0, 1))
        assert total is not None
        labels[own] = total.argmax(-1).numpy()
    left = labels < 0
    if left.any():
        from scipy.spatial import cKDTree

        labels[left] = labels[~left][cKDTree(points[~left]).query(points[left])[1]]
    return labels


def _parts(count: int, size: int, passes: int, seed: int) -> list[Tensor]:
    """Indices (size,) that cover all points `passes` times; points are repeated where there are fewer."""
    rng = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    for _ in range(passes):
        order = torch.randperm(count, generator=rng)
        lacking = -count % size
        parts += torch.cat([order, torch.randint(count, (lacking,), generator=rng)]).split(size)
    return parts
