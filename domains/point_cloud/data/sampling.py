"""Which points of a cloud a model sees: thinning, farthest points, random choices; and what it cannot see refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domains.point_cloud.model import geometry
from suite.errors import InputError

POOLS = {1024: 1200, 2048: 2400, 4096: 4800, 8192: 8192}
"""Farthest points of which a training sample takes a random part, by the number that it takes (Point-MAE's)."""

MOST = 16_384
"""Points that farthest-point sampling searches; larger clouds are thinned at random first."""

WRAPS = 327.68
"""Coordinates from here on wrap round in the 16 bits of a Morton key."""


def pool_size(npoints: int) -> int:
    """How many farthest points a training sample of `npoints` is drawn from."""
    return POOLS.get(npoints, round(npoints * 1200 / 1024))


def farthest_index(points: Tensor, count: int) -> Tensor:
    """Indices of the `count` farthest points of a cloud (N, 3 or more), in the order in which they are found."""
    return geometry.farthest_point_sample(points[None, :, :3], min(count, len(points)))[0]


def farthest(points: Tensor, count: int) -> Tensor:
    """The `count` farthest points of a cloud (N, 3), in the order in which they are found; all when there are fewer."""
    return points[farthest_index(points, count)]


def thin(points: NDArray[np.floating], most: int, seed: int) -> NDArray[np.int64]:
    """Indices of at most `most` points, drawn with `seed`, in the cloud's order.

    The places of the points decide which are drawn, so that another order of the same points draws the same.
    """
    if len(points) <= most:
        return np.arange(len(points))
    mixed = np.full(len(points), seed, dtype=np.uint64)
    for axis in _cells(points).T:  # the finaliser of SplitMix64, once an axis
        mixed += axis.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.sort(np.argpartition(mixed, most)[:most])


def canonical_order(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices that sort points (N, 3) by their places: the same points in any order come out in one.

    The point next to their mean comes first, since sampling starts there. Coordinates are compared in steps of a
    hundred-thousandth of the cloud's extent first, so that the digits that a file format drops hardly ever change the
    order.
    """
    cells = _cells(points)
    order = np.lexsort((*points.T[::-1], *cells.T[::-1]))
    middle = points[order].mean(0)
    first = int(np.linalg.norm(points[order] - middle, axis=1).argmin())
    return np.concatenate([order[first : first + 1], np.delete(order, first)])


def _cells(points: NDArray[np.floating]) -> NDArray[np.int64]:
    low = points.min(0)
    reach = float(np.ptp(points, axis=0).max()) or 1.0
    return np.round((points - low) / reach * 1e5).astype(np.int64)


def strays(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (N,) lie so far from all others that they are no part of the shape: reflections, birds, (0, 0, 0).

    Beyond the distance from the median that holds 99 % of the points, a gap of half that distance parts them.
    """
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    ascending = np.sort(distance)
    inner = int(0.99 * (len(points) - 1))
    body = ascending[inner]
    gaps = np.flatnonzero(np.diff(ascending[inner:]) > 0.5 * body)
    if body == 0 or len(gaps) == 0:
        return np.zeros(len(points), dtype=bool)
    return distance > ascending[inner + gaps[0]]


def unit_sphere(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cloud (N, 3) centred on its mean, its farthest point at distance 1.

    Raises:
        InputError: all points coincide.
    """
    centred = points - points.mean(0)
    radius = np.linalg.norm(centred, axis=1).max()
    # Below the rounding of the coordinates themselves nothing but noise would be left to scale up.
    if radius <= 1e-12 * max(1.0, float(np.abs(points).max())):
        raise InputError("all points coincide, so the cloud cannot be normalised; check the file")
    return centred / radius


def check_size(points: NDArray[np.float64], needed: int, upsample: bool) -> NDArray[np.float64]:
    """The cloud if it has `needed` distinct points; with `upsample`, midpoints of neighbours are added until it has.

    Raises:
        InputError: there are too few distinct points.
    """
    if len(points) >= 4 * needed:
        # Counting distinct points sorts them all; a part of a large cloud tells as well.
        sample = points[:: len(points) // (4 * needed)]
        if len(np.unique(sample, axis=0)) >= needed:
            return points
    distinct = np.unique(points, axis=0)
    if len(distinct) >= needed:
        return points
    if not upsample:
        raise InputError(f"cloud has {len(distinct)} distinct points, {needed} needed; use --upsample")
    if len(distinct) < 2:
        raise InputError("all points of the cloud coincide; there is nothing to upsample")
    return _with_midpoints(distinct, needed)


def _with_midpoints(points: NDArray[np.float64], needed: int) -> NDArray[np.float64]:
    """Midpoints of each point and its nearest neighbours, round after round."""
    from scipy.spatial import cKDTree

    while len(points) < needed:
        neighbours = min(4, len(points))
        _, index = cKDTree(points).query(points, k=neighbours)
        middles = (points[:, None] + points[index[:, 1:]]).reshape(-1, 3) / 2
        added = np.unique(np.concatenate([points, middles]), axis=0)
        if len(added) == len(points):
            raise InputError(f"cloud has {len(points)} distinct points and cannot be upsampled to {needed}")
        points = added
    return points


def place_notes(points: NDArray[np.floating], normalise: bool) -> list[str]:
    """What is odd about where a cloud lies.

    Raises:
        InputError: it is not to be normalised, and its coordinates are too large for the order of its patches.
    """
    if normalise:
        return []
    reach = float(np.abs(points).max())
    if reach >= WRAPS:
        raise InputError(
            f"a coordinate is {reach:.6g}, and from {WRAPS} on patch orders wrap; normalise the cloud first"
        )
    centre = float(np.linalg.norm(points.mean(0)))
    radius = float(np.linalg.norm(points - points.mean(0), axis=1).max())
    if centre > 0.5 or not 0.3 < radius < 3:
        return [
            f"not normalised: its centre is {centre:.3g} from the origin, its radius {radius:.3g}; expected 0 and 1"
        ]
    return []
