"""Sets of scenes with a class a point: rooms, streets. Models see blocks of them; scores are of the scenes whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data import blocks
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Loaded

Scene = tuple[NDArray[np.floating], NDArray[np.int64]]
"""Points (N, 3) in metres, z up, their channels beside them, and the class (N,) of each; -1 where it has none."""


def cut(
    files: Sequence[Path],
    load: Callable[[Path], Scene],
    root: Path,
    *,
    classes: Sequence[str],
    side: float,
    protocol: str,
) -> CloudSet:
    """The blocks of scenes as a set, and the scenes themselves as its `whole`. Every scene is read once to be cut.

    Args:
        files: one a scene. root: what they are named relative to.
        side: of a block, in metres.
    """
    opened = lru_cache(maxsize=4)(load)

    @lru_cache(maxsize=4)
    def own_blocks(file: Path) -> dict[tuple[float, float], NDArray[np.int64]]:
        found = blocks.columns(opened(file)[0][:, :2], side)
        return {place: own for place, own in found if len(own) >= blocks.FEWEST}

    places = [(file, place) for file in files for place in own_blocks(file)]

    def block(number: int) -> Loaded:
        file, place = places[number]
        (points, labels), inside = opened(file), own_blocks(file)[place]
        own = points[inside]
        return _turned(np.concatenate([own[:, :3] - points[:, :3].min(0), own[:, 3:]], 1)), labels[inside]

    def scene(number: int) -> Loaded:
        points, labels = opened(files[number])
        return _turned(points), labels

    parts = {blocks.SCENE[0]: tuple(classes)}
    names = [f"{file.relative_to(root)}[{column:.0f}, {row:.0f}]" for file, (column, row) in places]
    whole = CloudSet(
        blocks.SCENE,
        np.zeros(len(files), dtype=np.int64),
        [str(file.relative_to(root)) for file in files],
        scene,
        parts,
        protocol=protocol,
        side=side,
    )
    numbers = np.zeros(len(places), dtype=np.int64)
    return CloudSet(blocks.SCENE, numbers, names, block, parts, protocol=protocol, side=side, whole=whole)


def _turned(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scenes are z-up, the backbones were trained y-up."""
    return points[:, [1, 2, 0, *range(3, points.shape[1])]].astype(np.float32)
