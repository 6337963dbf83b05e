"""Operations on point sets that adapters and backbones share, in plain torch. No compiled extension.

Shapes: B clouds, N points, G centres. Distances are taken as direct differences in the dtype of the input unless the
name says otherwise, so they are exact under autocast.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from suite.errors import InputError

NEAR_ORIGIN = 1e-3
"""Squared norm up to which farthest-point sampling never picks a point after the first: the CUDA operator's rule."""


def square_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances by direct differences, `(..., P, 3)` and `(..., Q, 3)` to `(..., P, Q)`.

    The matmul form loses the diagonal to rounding (up to 3e-4 in float32); this form gives exactly zero there.
    """
    return sum((a[..., :, None, axis] - b[..., None, :, axis]).square() for axis in range(3))


def square_distance_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances as |a|^2 + |b|^2 - 2 a.b, `(B, P, 3)` and `(B, Q, 3)` to `(B, P, Q)`.

    Released models interpolate with this form.
    """
    return -2 * a @ b.transpose(1, 2) + a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None, :]


@torch.no_grad()
def farthest_point_sample(points: Tensor, count: int, ties: Literal["lowest", "cuda"] = "lowest") -> Tensor:
    """Indices of `count` points, each the farthest from those before it.

    Follows the CUDA operator that the published checkpoints were trained with: the first index is 0, and points
    closer to the origin than `sqrt(NEAR_ORIGIN)` are never picked after it (index 0 again if every point is that
    close).

    Args:
        points: (B, N, 3).
        ties: which of equally far points wins: the lowest index, or the operator's thread-reduction order.

    Returns:
        (B, count), int64.

    Raises:
        InputError: there are fewer than `count` points.
    """
    batch, total, _ = points.shape
    if total < count:
        raise InputError(f"a cloud has {total} points and {count} centres are needed; use a denser cloud or --upsample")
    # argmax takes the first of equals, so searching in another order changes who wins a tie and nothing else.
    order = _cuda_tie_order(total).to(points.device) if ties == "cuda" else None
    searched = points if order is None else points[:, order]
    x, y, z = searched.unbind(-1)
    allowed = x * x + y * y + z * z > NEAR_ORIGIN
    distance = torch.full((batch, total), 1e10, dtype=points.dtype, device=points.device)
    # Points that may never win hold -1, below every distance.
    distance = torch.where(allowed, distance, torch.full_like(distance, -1.0))
    none_allowed = ~allowed.any(1)
    rows = torch.arange(batch, device=points.device)
    start = torch.zeros(batch, dtype=torch.long, device=points.device)
    if order is not None:
        start += torch.argsort(order)[0]
    picked = torch.empty(batch, count, dtype=torch.long, device=points.device)
    picked[:, 0] = start
    for step in range(1, count):
        last = searched[rows, picked[:, step - 1]]
        delta = (x - last[:, :1]).square_().add_((y - last[:, 1:2]).square_()).add_((z - last[:, 2:]).square_())
        torch.minimum(distance, delta, out=distance)
        picked[:, step] = torch.where(none_allowed, start, distance.argmax(1))
    return picked if order is None else order[picked]


def _cuda_tie_order(total: int) -> Tensor:
    """The operator's priority among ties: bit-reversed thread of the block first, then the index itself."""
    threads = min(512, 1 << int(math.log2(total)))
    bits = threads.bit_length() - 1
    index = torch.arange(total)
    thread = index % threads
    reverse = torch.zeros_like(thread)
    for bit in range(bits):
        reverse |= ((thread >> bit) & 1) << (bits - 1 - bit)
    return torch.argsort(reverse * total + index)


@torch.no_grad()
def nearest_neighbours(queries: Tensor, points: Tensor, count: int, chunk: int = 1 << 22) -> tuple[Tensor, Tensor]:
    """The `count` nearest of `points` to each query, ascending, ties to the lower index.

    Args:
        queries: (B, G, 3). points: (B, N, 3).
        chunk: at most this many distances are held at once.

    Returns:
        Distances (B, G, count) and indices (B, G, count), int64.

    Raises:
        InputError: there are fewer than `count` points.
    """
    batch, total, _ = points.shape
    if total < count:
        raise InputError(
            f"a cloud has {total} points and {count} neighbours are needed; use a denser cloud or --upsample"
        )
    rows = max(1, chunk // max(1, batch * total))
    parts = [_smallest(square_distance(part, points), count) for part in queries.split(rows, dim=1)]
    nearest, index = (torch.cat([part[number] for part in parts], 1) for number in range(2))
    return nearest.sqrt(), index


def _smallest(distance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest of the last axis, ascending, and their indices; of equals the lower index first."""
    values, index = distance.topk(min(count + 1, distance.shape[-1]), largest=False)
    if (values[..., 1:] == values[..., :-1]).any():
        # Selecting says nothing of the order of equals; sorting does, and takes several times as long.
        values, index = torch.sort(distance, dim=-1, stable=True)
    return values[..., :count], index[..., :count]


def gather(points: Tensor, index: Tensor) -> Tensor:
    """`points` (B, N, C) at `index` (B, ...) to (B, ..., C)."""
    batch = points.shape[0]
    rows = torch.arange(batch, device=points.device).view(batch, *[1] * (index.dim() - 1))
    return points[rows, index]


@torch.no_grad()
def morton_key(centers: Tensor) -> Tensor:
    """Morton key (..., int64) of coordinates truncated to 0.01 units, 16 bits an axis, bits interleaved as y, x, z.

    Negative values are masked to 16 bits of two's complement and so sort after positive ones, as in the released code.

    Raises:
        InputError: a coordinate does not fit 16 bits (|coordinate| >= 327.68).
    """
    if centers.numel() and centers.detach().abs().max() >= 327.68:
        raise InputError(
            "coordinates of 327.68 units or more wrap the Morton key; normalise the cloud to the unit sphere first"
        )
    x, y, z = (centers * 100).trunc().to(torch.int64).bitwise_and(0xFFFF).unbind(-1)
    key = torch.zeros_like(x)
    for bit in range(16):
        for place, axis in ((2, y), (1, x), (0, z)):
            key |= ((axis >> bit) & 1) << (3 * bit + place)
    return key


@torch.no_grad()
def morton_order(centers: Tensor) -> tuple[Tensor, Tensor]:
    """The Morton order of centres (B, G, 3) and its inverse, both (B, G) int64; equal keys keep their order."""
    order = torch.argsort(morton_key(centers), dim=-1, stable=True)
    return order, torch.argsort(order, dim=-1)


def interpolate(targets: Tensor, centers: Tensor, features: Tensor, neighbours: int | None = 3) -> Tensor:
    """Inverse-distance interpolation of `features` from `centers` to `targets` (PointNet++ feature propagation).

    Args:
        targets: (B, N, 3). centers: (B, G, 3). features: (B, G, C).
        neighbours: how many nearest centres share; None for all of them.

    Returns:
        (B, N, C).
    """
    distance = square_distance_matmul(targets, centers)
    if neighbours is None or neighbours >= centers.shape[1]:
        weight = 1.0 / (distance + 1e-8)
        return (weight / weight.sum(-1, keepdim=True)) @ features
    nearest, index = distance.sort(dim=-1)
    weight = 1.0 / (nearest[..., :neighbours] + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    return (gather(features, index[..., :neighbours]) * weight[..., None]).sum(2)
