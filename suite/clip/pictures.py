"""Pictures as a CLIP takes them: the shorter side scaled (bicubic), the middle cut out, normalised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from suite.clip.bases import image_size, read_config
from suite.errors import InputError
from suite.files import read_json

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Picture = Image.Image | NDArray[np.uint8]
"""A PIL picture of any mode, or (height, width, 3) RGB in 0-255."""

Cut = Literal["torchvision", "transformers"]
"""Who decides on which side an odd pixel falls: `torchvision` (OpenAI's code) rounds, `transformers` rounds down."""

_LARGEST_RATIO = 200
"""Of a picture's sides: beyond, the scaled one would need more memory than any picture is worth."""


@dataclass(frozen=True)
class Preprocessing:
    """What a CLIP was trained to see.

    Attributes:
        size: side of the square, pixels.
        mean, std: of each channel, pixels being in 0-1.
        cut: the rule for the middle.
        square: scale both sides to `size` at once, without keeping their ratio or cutting anything.
    """

    size: int = 224
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    cut: Cut = "torchvision"
    square: bool = False

    def resize(self, picture: Picture) -> Image.Image:
        """The square that the model sees, before normalisation.

        Raises:
            InputError: one side is so much longer than the other that there is nothing to see.
        """
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image = image.convert("RGB")
        if self.square:
            return image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        width, height = image.size
        if max(width, height) > _LARGEST_RATIO * min(width, height):
            raise InputError(f"a picture of {width} x {height} pixels has no middle to look at; cut a part out of it")
        shorter = min(width, height)
        # int(): the longer side is rounded down, by OpenAI's code and by transformers'.
        scaled = (int(self.size * width / shorter), int(self.size * height / shorter))
        if image.size != scaled:
            image = image.resize(scaled, Image.Resampling.BICUBIC)
        left, top = (self._offset(side) for side in scaled)
        return image.crop((left, top, left + self.size, top + self.size))

    def __call__(self, picture: Picture) -> Tensor:
        """(3, size, size), float32."""
        return self.normalize(torch.from_numpy(np.array(self.resize(picture))))

    def batch(self, pictures: Iterable[Picture]) -> Tensor:
        """(pictures, 3, size, size), float32."""
        squares = [torch.from_numpy(np.array(self.resize(picture))) for picture in pictures]
        return self.normalize(torch.stack(squares))

    def normalize(self, pixels: Tensor) -> Tensor:
        """(..., height, width, 3) in 0-255 to (..., 3, height, width), float32, on the same device."""
        # Laid out by channels first: in-place steps over that are ten times as fast as over pixels, to the bit.
        channels = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        mean, std = (torch.tensor(value, device=pixels.device)[:, None, None] for value in (self.mean, self.std))
        return channels.div_(255).sub_(mean).div_(std)

    def _offset(self, side: int) -> int:
        rest = side - self.size
        return rest // 2 if self.cut == "transformers" else round(rest / 2)


def of_base(folder: str | Path, cut: Cut = "torchvision") -> Preprocessing:
    """What the base in a folder states in `preprocessor_config.json`; OpenAI's values at the model's size without one.

    Raises:
        InputError: the folder holds no CLIP, or asks for another scaling than bicubic.
    """
    config = read_config(folder)
    size = image_size(config)
    file = Path(folder) / "preprocessor_config.json"
    if not file.is_file():
        return Preprocessing(size, cut=cut)
    stated = read_json(file)
    if stated.get("resample", Image.Resampling.BICUBIC) != Image.Resampling.BICUBIC:
        raise InputError(f"{file}: resample {stated['resample']}; only 3, bicubic, is CLIP's: correct the file")
    mean, std = (tuple(map(float, stated.get(key, value))) for key, value in (("image_mean", MEAN), ("image_std", STD)))
    return Preprocessing(size, mean, std, cut)
