"""Aspect-ratio buckets: pictures keep their shape, a batch holds one shape, none has more pixels than the square."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from domains.personalized_diffusion.data.photos import Crop
from suite.errors import InputError
from suite.training.batching import ResumableBatches
from suite.training.randomness import derive

Size = tuple[int, int]
"""Width and height in pixels."""
Cropping = Literal["center", "random"]
UNIT = 16
"""Pixels to what a transformer sees as one token, two of the VAE's latents: no side is cut finer."""


def bucket_sizes(
    resolution: int, *, step: int = 64, shortest: int | None = None, longest: int | None = None
) -> list[Size]:
    """The sizes whose sides are multiples of `step`, as large as `resolution` squared allows.

    Args:
        resolution: side of the square with the most pixels.
        step: of the sides.
        shortest: smallest side; half the resolution by default.
        longest: largest side; twice the resolution by default.

    Raises:
        InputError: the limits leave no size.
    """
    shortest = max(step, resolution // 2 // step * step) if shortest is None else shortest
    longest = 2 * resolution if longest is None else longest
    sizes: set[Size] = set()
    for width in range(math.ceil(shortest / step) * step, longest + 1, step):
        height = min(longest, resolution**2 // width // step * step)
        if height >= shortest:
            sizes |= {(width, height), (height, width)}
    if not sizes:
        raise InputError(
            f"no bucket fits: sides of {shortest} to {longest} in steps of {step}, at most {resolution} squared"
        )
    return sorted(sizes)


def choose(size: Size, sizes: Sequence[Size], *, upscale: bool = True, step: int = 64) -> Size:
    """The bucket of a picture: the nearest aspect ratio, of these the largest.

    Args:
        size: of the picture.
        sizes: the buckets.
        upscale: enlarge a picture that is smaller than every bucket; otherwise it gets one of its own: its own size,
            shrunk to the pixels of the largest bucket and cut down to multiples of `step`, a side shorter than that to
            multiples of `UNIT`.
        step: of the sides.
    """
    ratio = math.log(size[0] / size[1])
    covered = [s for s in sizes if s[0] <= size[0] and s[1] <= size[1]]
    if not upscale and not covered:
        most = max(width * height for width, height in sizes)
        scale = min(1.0, math.sqrt(most / (size[0] * size[1])))
        width, height = (
            max(UNIT, kept // step * step or kept // UNIT * UNIT) for kept in (int(side * scale) for side in size)
        )
        return width, height
    return min(
        sizes if upscale else covered, key=lambda s: (round(abs(math.log(s[0] / s[1]) - ratio), 6), -s[0] * s[1])
    )


def fit(
    image: Image.Image, size: Size, *, crop: Cropping = "center", generator: torch.Generator | None = None
) -> tuple[Tensor, Crop]:
    """Resize a picture to cover a bucket (bilinear, antialiased), cut it, scale to [-1, 1].

    Returns:
        (3, height, width) and where it was cut.
    """
    width, height = image.size
    covering = _covering(image.size, size)
    resized = image.resize(covering, Image.Resampling.BILINEAR)
    spare_x, spare_y = covering[0] - size[0], covering[1] - size[1]
    if crop == "center":
        left, top = spare_x // 2, spare_y // 2
    else:
        top = int(torch.randint(spare_y + 1, (), generator=generator))
        left = int(torch.randint(spare_x + 1, (), generator=generator))
    cut = resized.crop((left, top, left + size[0], top + size[1]))
    pixels = torch.from_numpy(np.asarray(cut, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
    return pixels, Crop(top, left, (height, width))


def cut(mask: Image.Image, size: Size, crop: Crop) -> Tensor:
    """A mask in greys, resized and cut as `fit` did its picture. (1, height, width) in [0, 1]."""
    resized = mask.resize(_covering(mask.size, size), Image.Resampling.BILINEAR)
    box = (crop.left, crop.top, crop.left + size[0], crop.top + size[1])
    return torch.from_numpy(np.asarray(resized.crop(box), dtype=np.float32))[None] / 255


def _covering(image: Size, size: Size) -> Size:
    """The smallest size of the image's shape that covers a bucket."""
    scale = max(size[0] / image[0], size[1] / image[1])
    return max(size[0], round(image[0] * scale)), max(size[1], round(image[1] * scale))


def histogram(chosen: Sequence[Size]) -> str:
    """How many pictures each bucket has, in one line."""
    counts = sorted(Counter(chosen).items())
    return ", ".join(f"{width} x {height}: {count}" for (width, height), count in counts)


class BucketBatches(ResumableBatches):
    """Batches of one bucket each, in an order that resumes exactly.

    Args:
        buckets: the bucket of each sample.
        batch_size, shuffle, seed: as of `ResumableBatches`.
    """

    def __init__(self, buckets: Sequence[Size], batch_size: int, *, shuffle: bool = True, seed: int = 0) -> None:
        super().__init__(len(buckets), batch_size, shuffle=shuffle, seed=seed)
        self.buckets = list(buckets)

    def _global_batches(self, world: int) -> list[list[int]]:
        generator = random.Random(derive(self.seed, "order", self.epoch))
        order = list(range(self.size))
        if self.shuffle:
            generator.shuffle(order)
        members: dict[Size, list[int]] = {}
        for index in order:
            members.setdefault(self.buckets[index], []).append(index)
        full = self.batch_size * world
        batches = [rows[start : start + full] for rows in members.values() for start in range(0, len(rows), full)]
        if self.shuffle:
            generator.shuffle(batches)
        return batches
