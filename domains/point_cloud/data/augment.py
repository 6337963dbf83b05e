"""Augmentations of training batches, as the published recipes use them; the choice is always stated, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["none", "scale_translate", "rotate", "scale_rotate", "part"]


def _uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, rng: torch.Generator | None) -> Tensor:
    drawn = torch.rand(shape, generator=rng, dtype=like.dtype, device=like.device)
    return low + (high - low) * drawn


def scale_translate(
    points: Tensor, rng: torch.Generator | None = None, low: float = 2 / 3, high: float = 3 / 2, shift: float = 0.2
) -> Tensor:
    """A scale U(low, high) and a shift U(-shift, shift) of each axis of each cloud: the default of both methods."""
    shape = (len(points), 1, 3)
    scale = _uniform(shape, low, high, points, rng)
    return points * scale + _uniform(shape, -shift, shift, points, rng)


def rotate(points: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Each cloud turned about y by U(0, 2 pi): PointGST with ACT and ReCon on ScanObjectNN."""
    return _turned(points, _uniform((len(points),), 0, 2 * math.pi, points, rng))


def scale_rotate(points: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """A scale U(0.9, 1.1) of each axis of each cloud, then ONE turn U(-pi, pi) of the batch: Point-PEFT on scans."""
    scaled = scale_translate(points, rng, 0.9, 1.1, 0.0)
    return _turned(scaled, _uniform((1,), -math.pi, math.pi, points, rng).expand(len(points)))


def part(points: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """One scale U(0.8, 1.25) and a shift U(-0.1, 0.1) of each axis of each cloud: Point-MAE's part segmentation."""
    scaled = points * _uniform((len(points), 1, 1), 0.8, 1.25, points, rng)
    return scaled + _uniform((len(points), 1, 3), -0.1, 0.1, points, rng)


def _turned(points: Tensor, angle: Tensor) -> Tensor:
    """Rows times [[c, 0, s], [0, 1, 0], [-s, 0, c]]."""
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack([c * x - s * z, y, s * x + c * z], -1)


def none(points: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The clouds as they are."""
    return points


AUGMENTATIONS: Mapping[Augmentation, Callable[..., Tensor]] = {
    "none": none,
    "scale_translate": scale_translate,
    "rotate": rotate,
    "scale_rotate": scale_rotate,
    "part": part,
}
"""Augmentations of a batch (B, N, 3) by name: `(points, generator=None) -> points`."""
