"""Point-set geometry in plain torch: sampling, neighbours, orders, interpolation, distances. No compiled extension.

Shapes: B clouds, N points, G centres, M neighbours. Coordinates are float32; everything here is exact under autocast
because distances are taken as direct differences in the dtype of the input.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from suite.adapters.methods.additive.point_cloud.pointsets import (
    farthest_point_sample,
    gather,
    interpolate,
    morton_key,
    morton_order,
    nearest_neighbours,
    square_distance,
    square_distance_matmul,
)
from suite.errors import InputError

__all__ = [
    "chamfer",
    "farthest_point_sample",
    "gather",
    "greedy_order",
    "group",
    "interpolate",
    "morton_key",
    "morton_order",
    "nearest_neighbours",
    "sine_position",
    "square_distance",
    "square_distance_matmul",
    "unit_sphere",
]


@torch.no_grad()
def group(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Patches of a cloud: farthest-point centres and their neighbours relative to them (section 2.1 of Point-MAE).

    Args:
        points: (B, N, 3), or (B, N, 3 + k) with k values of each beside its place.

    Returns:
        Neighbourhoods (B, G, M, 3 + k), centre subtracted, not scaled; centres (B, G, 3).

    Raises:
        InputError: the clouds have fewer points than `groups` or `size`.
    """
    places = points[..., :3]
    centers = gather(places, farthest_point_sample(places, groups))
    _, index = nearest_neighbours(centers, places, size)
    patches = gather(places, index) - centers[:, :, None]  # (B, G, M, 3)
    if points.shape[-1] > 3:
        patches = torch.cat([patches, gather(points[..., 3:], index)], -1)
    return patches, centers


@torch.no_grad()
def greedy_order(centers: Tensor) -> Tensor:
    """Indices (B, G) that start at centre 0 and go on to the nearest centre not used yet (PointGPT)."""
    batch, count, _ = centers.shape
    distance = square_distance(centers, centers)
    rows = torch.arange(batch, device=centers.device)
    used = torch.zeros(batch, count, dtype=torch.bool, device=centers.device)
    order = torch.zeros(batch, count, dtype=torch.long, device=centers.device)
    for step in range(1, count):
        used[rows, order[:, step - 1]] = True
        order[:, step] = distance[rows, order[:, step - 1]].masked_fill(used, torch.inf).argmin(1)
    return order


def chamfer(a: Tensor, b: Tensor, norm: Literal["l1", "l2"] = "l2") -> Tensor:
    """Chamfer distance of two batches of clouds (B, P, 3), (B, Q, 3).

    `l2` is the mean squared distance to the nearest point in both directions, `l1` the mean distance halved.
    """
    distance = square_distance(a, b)
    forward, backward = distance.min(2).values, distance.min(1).values
    if norm == "l2":
        return forward.mean() + backward.mean()
    return (forward.sqrt().mean() + backward.sqrt().mean()) / 2


def unit_sphere(points: Tensor) -> Tensor:
    """Centre each cloud (..., N, 3) on its mean and divide by its largest norm.

    Raises:
        InputError: all points of a cloud coincide.
    """
    centred = points - points.mean(-2, keepdim=True)
    radius = centred.square().sum(-1, keepdim=True).amax(-2, keepdim=True).sqrt()
    if (radius == 0).any():
        raise InputError("all points of the cloud coincide, so it cannot be normalised; check the file")
    return centred / radius


def sine_position(centers: Tensor, width: int, scale: float = 2 * math.pi, temperature: float = 1.0) -> Tensor:
    """Sinusoidal position of raw coordinates (PointGPT), (B, G, 3) to (B, G, width): axes concatenated, zero-padded.

    The released model passes its scale of 1.0 where the temperature stands, so every feature of an axis has the same
    frequency; its checkpoints depend on that default.
    """
    features = width // 3 // 2 * 2
    index = torch.arange(features, dtype=torch.float32, device=centers.device)
    frequency = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / features)
    angle = centers[..., None] * scale / frequency  # (B, G, 3, features)
    waves = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)
    return torch.nn.functional.pad(waves.flatten(-2), (0, width - 3 * features))
