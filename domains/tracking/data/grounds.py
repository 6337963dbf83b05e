"""The grounds of the made world: what figures move over."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]

GROUNDS: dict[str, tuple[Colour, Colour, Colour]] = {
    "grass": ((112, 156, 82), (86, 130, 66), (150, 178, 96)),
    "sand": ((218, 194, 146), (196, 168, 120), (236, 220, 178)),
    "water": ((84, 142, 180), (62, 116, 160), (134, 180, 204)),
    "snow": ((222, 228, 236), (198, 208, 222), (240, 244, 248)),
    "asphalt": ((118, 120, 126), (96, 98, 106), (146, 148, 152)),
    "carpet": ((150, 96, 92), (120, 72, 78), (186, 140, 118)),
    "moss": ((92, 112, 84), (66, 88, 72), (130, 140, 98)),
}
"""Each with its middle, dark and light colour."""


@lru_cache(maxsize=16)
def paint(name: str, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """A ground of smooth patches, small stones and a grain: (height, width, 3)."""
    rng = np.random.default_rng(seed)
    middle, dark, light = (np.array(colour, np.float32) for colour in GROUNDS[name])
    patches = sum(_noise(rng, width, height, cell) * weight for cell, weight in ((64, 0.5), (24, 0.3), (9, 0.2)))
    level = np.asarray(patches)[..., None]  # (height, width, 1), 0 to 1
    picture = np.where(level < 0.5, dark + (middle - dark) * 2 * level, middle + (light - middle) * (2 * level - 1))
    for _ in range(width * height // 900):
        _stone(picture, rng, dark if rng.random() < 0.6 else light)
    picture += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    pixels = picture.clip(0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def _noise(rng: np.random.Generator, width: int, height: int, cell: int) -> NDArray[np.float32]:
    """Smooth noise, a random value each `cell` pixels: (height, width), 0 to 1."""
    coarse = rng.random((height // cell + 3, width // cell + 3), dtype=np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).clip(0, 1)


def _stone(picture: NDArray[np.float32], rng: np.random.Generator, colour: NDArray[np.float32]) -> None:
    """A soft spot."""
    height, width = picture.shape[:2]
    x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1, 4)
    left, right = max(0, int(x - radius - 1)), min(width, int(x + radius + 2))
    top, bottom = max(0, int(y - radius - 1)), min(height, int(y + radius + 2))
    rows, columns = np.mgrid[top:bottom, left:right]
    near = (1 + radius - np.hypot((columns - x) / 1.3, rows - y)).clip(0, 1)[..., None] * 0.6
    picture[top:bottom, left:right] += near * (colour - picture[top:bottom, left:right])
