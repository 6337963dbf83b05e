"""The square crops that a tracker looks at, in training as in tracking: around a box, aligned to whole pixels.

Boxes are corners (left, top, right, bottom), continuous, in pixels from the picture's upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Box = NDArray[np.float64]
"""(4,): left, top, right, bottom."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, in 0-1."""

_OUTWARD = 1 - 1e-4
"""A right or lower edge closer than this above a whole pixel belongs to that pixel."""


@dataclass(frozen=True)
class Geometry:
    """Where pixels of a frame lie in a crop: `crop = frame * scale + shift`, each axis by itself.

    Attributes:
        scale, shift: (2,), x and y.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def into(self, box: Box) -> Box:
        """A box of the frame in the crop."""
        return box * np.tile(self.scale, 2) + np.tile(self.shift, 2)

    def back(self, box: Box) -> Box:
        """A box of the crop in the frame."""
        return (box - np.tile(self.shift, 2)) / np.tile(self.scale, 2)

    def jittered(self, scale: NDArray[np.float64], shift: NDArray[np.float64], box: Box) -> Geometry:
        """Scaled about the middle of a box of the frame, then shifted by pixels of the crop."""
        middle = (box[:2] + box[2:]) / 2  # (2,)
        place = middle * self.scale + self.shift
        scaled = self.scale * scale
        return Geometry(scaled, place - middle * scaled + shift)


def around(box: Box, area_factor: float, size: int) -> Geometry:
    """The crop around a box: its middle in the middle, its area grown by a margin of half its sides (SiamFC's rule).

    Args:
        box: (4,), with a positive size.
        area_factor: margin; 1 is the box itself.
        size: side of the crop in pixels.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    margin = (area_factor - 1) * (width + height) / 2
    scale = np.sqrt(size * size / ((width + margin) * (height + margin)))
    middle = (box[:2] + box[2:]) / 2
    return Geometry(np.full(2, scale), size / 2 - middle * scale)


def at_least(box: Box, smallest: float) -> Box:
    """The box, its sides raised to `smallest` about its middle."""
    middle, half = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], smallest) / 2
    return np.concatenate([middle - half, middle + half])


def outward(box: Box) -> NDArray[np.int64]:
    """The whole pixels that a box touches, as half-open ranges."""
    return np.concatenate([np.floor(box[:2]), np.floor(box[2:] + _OUTWARD)]).astype(np.int64)


def clipped(box: Box, width: float, height: float) -> Box:
    """The part of a box that lies on a picture; of none it is empty at the edge."""
    return np.clip(box, 0, [width, height, width, height])


def mean_colour(frame: Pixels) -> Tensor:
    """(3,), of the whole frame in 0-255."""
    height, width = frame.shape[:2]
    # Column by column in whole numbers, which is exact, and seventy times as fast as numpy's mean of pixels.
    columns = frame.reshape(height, width * 3).sum(0, dtype=np.uint32)
    total = columns.reshape(width, 3).sum(0, dtype=np.uint64)  # (3,)
    return torch.from_numpy(total / (height * width)).float()


def cut(frame: Pixels, geometry: Geometry, size: int, fill: Tensor) -> tuple[Tensor, Geometry]:
    """A crop (3, size, size) of a frame in 0-255, and the geometry that it has once its edges are whole pixels.

    A whole rectangle of the frame's pixels is resized to a whole rectangle of the crop; all else has the fill's
    colour. What later maps boxes is the returned geometry, whose two scales may differ.

    Args:
        fill: (3,), 0-255.
    """
    height, width = frame.shape[:2]
    crop = fill.to(torch.float32).view(3, 1, 1).repeat(1, size, size)
    whole = np.array([0, 0, width, height], np.float64)
    target = clipped(geometry.into(whole), size, size)
    if (target[2:] <= target[:2]).any():
        return crop, geometry
    to = outward(target)
    source = clipped(outward(geometry.back(to.astype(np.float64))).astype(np.float64), width, height).astype(np.int64)
    if (source[2:] <= source[:2]).any():
        return crop, geometry
    part = torch.from_numpy(np.array(frame[source[1] : source[3], source[0] : source[2]]))
    pixels = part.permute(2, 0, 1).to(torch.float32)  # (3, rows, columns)
    shape = (int(to[3] - to[1]), int(to[2] - to[0]))
    resized = F.interpolate(pixels[None], shape, mode="bilinear", align_corners=False, antialias=False)[0]
    crop[:, to[1] : to[3], to[0] : to[2]] = resized
    # In single precision, as published: which cell an edge falls into hangs on the last bit.
    scale = (to[2:] - to[:2]).astype(np.float32) / (source[2:] - source[:2]).astype(np.float32)
    shift = to[:2].astype(np.float32) - source[:2].astype(np.float32) * scale
    return crop, Geometry(scale.astype(np.float64), shift.astype(np.float64))


def normalised(crops: Tensor) -> Tensor:
    """Crops (..., 3, size, size) in 0-255 as the model takes them."""
    mean, std = (torch.tensor(values, device=crops.device).view(3, 1, 1) for values in (MEAN, STD))
    return (crops.float() / 255 - mean) / std


def cells(box: Box, size: int, stride: int) -> NDArray[np.int64]:
    """The cells of a crop's grid that a box of the crop touches, as half-open ranges; at least one.

    Clipped to the crop first: a negative start would count from the other side.
    """
    count = size // stride
    inside = clipped(box, size, size) / stride
    found = outward(inside)
    first = np.minimum(found[:2], count - 1)
    return np.concatenate([first, np.clip(found[2:], first + 1, count)])


def mask(box: Box, size: int, stride: int) -> Tensor:
    """(grid, grid) int64: 1 in the cells that a box of the crop touches, 0 elsewhere; row, then column."""
    filled = torch.zeros(size // stride, size // stride, dtype=torch.int64)
    left, top, right, bottom = cells(box, size, stride)
    filled[top:bottom, left:right] = 1
    return filled
