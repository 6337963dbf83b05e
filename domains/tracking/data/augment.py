"""Augmentation of a sample's crops, in the published order: flips, colours, and one of DeiT III's three for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional as V

from domains.tracking.data.crops import Box

COLOURS = 0.4
"""Brightness, contrast and saturation are multiplied by 1 - this to 1 + this."""

RADIUS = (0.1, 2.0)
"""Of the blur, pixels."""


def augmented(
    crops: Sequence[Tensor], boxes: Sequence[Box], rng: np.random.Generator
) -> tuple[list[Tensor], list[Box]]:
    """Other crops (3, side, side) in 0-1 of the same objects, and their boxes in them.

    Each is flipped, and its colours changed, by itself; grey, solarised or blurred they are together.
    """
    flipped = [
        _flipped(crop, box) if rng.random() < 0.5 else (crop, box) for crop, box in zip(crops, boxes, strict=True)
    ]
    coloured = [_coloured(crop, rng) for crop, _ in flipped]
    change = (_grey, _solarised, _blur(float(rng.uniform(*RADIUS))))[int(rng.integers(3))]
    # On 8-bit pictures, as published: solarising compares whole numbers.
    return [change((crop * 255).to(torch.uint8)).float() / 255 for crop in coloured], [box for _, box in flipped]


def _flipped(crop: Tensor, box: Box) -> tuple[Tensor, Box]:
    side = crop.shape[-1]
    return crop.flip(-1), np.array([side - box[2], box[1], side - box[0], box[3]])


def _coloured(crop: Tensor, rng: np.random.Generator) -> Tensor:
    changes = (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation)
    factors = rng.uniform(1 - COLOURS, 1 + COLOURS, 3)
    for place in rng.permutation(3):
        crop = changes[place](crop, float(factors[place]))
    return crop


def _grey(crop: Tensor) -> Tensor:
    return V.rgb_to_grayscale(crop, 3)


def _solarised(crop: Tensor) -> Tensor:
    return V.solarize(crop, 128)


def _blur(radius: float) -> Callable[[Tensor], Tensor]:
    side = 2 * int(np.ceil(2.5 * radius)) + 1
    return lambda crop: V.gaussian_blur(crop, [side, side], [radius, radius])
