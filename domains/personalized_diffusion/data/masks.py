"""Masks: what of a photo trains. From its transparency, or from pictures of the same names in a folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from domains.personalized_diffusion.data.photos import Photo, open_raw, photo_files
from suite.errors import InputError

ALPHA = "alpha"
_SHAPE = 0.02
"""How far a mask's shape may be from its photo's: rounding of sides, as programs that shrink pictures leave it."""


@dataclass(frozen=True)
class Masks:
    """Where masks come from.

    Attributes:
        source: `alpha`, or the folder of the masks.
        floor: weight of what they leave out.
        digests: of the masks that were asked for.
    """

    source: str
    floor: float = 0.0
    digests: dict[Path, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise InputError(f"data.unmasked_weight is {self.floor}; give a weight from 0 to 1")
        if self.source != ALPHA and not Path(self.source).expanduser().is_dir():
            raise InputError(f"data.masks: {self.source}: no such folder; name one, or say alpha")

    @cached_property
    def files(self) -> dict[str, Path]:
        """The masks of the folder by the names of their photos."""
        if self.source == ALPHA:
            return {}
        return {path.stem: path for path in photo_files(Path(self.source).expanduser())}

    def check(self, photo: Photo) -> None:
        """Find the mask of a photo.

        Raises:
            InputError: there is none, it is no picture, of another shape, or leaves nothing to train.
        """
        self.open(photo)

    def open(self, photo: Photo) -> Image.Image:
        """The mask of a photo in greys, of the photo's size: white trains.

        Raises:
            InputError: see `check`.
        """
        if self.source == ALPHA:
            mask = _transparency(open_raw(photo.path))
        else:
            path = self.files.get(photo.path.stem)
            if path is None:
                raise InputError(
                    f"data.masks: {self.source} has no mask for {photo.path.name}; add {photo.path.stem}.png"
                )
            mask = open_raw(path).convert("L")
            if abs(mask.width / mask.height / (photo.size[0] / photo.size[1]) - 1) > _SHAPE:
                raise InputError(
                    f"data.masks: {path} is {mask.width} x {mask.height} and its photo {photo.size[0]} x "
                    f"{photo.size[1]}; make it of the same shape"
                )
            mask = mask.resize(photo.size, Image.Resampling.BILINEAR)
        if self.floor == 0 and not np.asarray(mask).any():
            raise InputError(f"data.masks: the mask of {photo.path.name} is black all over: nothing of it would train")
        return mask

    def digest(self, photo: Photo) -> str:
        """What tells masks apart for caches of what is made with them."""
        if photo.path not in self.digests:
            self.digests[photo.path] = hashlib.sha256(self.open(photo).tobytes()).hexdigest()
        return self.digests[photo.path]


def _transparency(image: Image.Image) -> Image.Image:
    """What is not transparent, in greys; white for pictures without transparency."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return Image.new("L", image.size, 255)
