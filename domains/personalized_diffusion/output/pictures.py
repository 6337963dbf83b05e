"""Pictures of pictures: grids of prompts and seeds, before and after, an adapter's strength, contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from suite.media import sheets
from suite.media.sheets import SIDE


def interpolation(
    by_strength: Mapping[float, Sequence[Image.Image]], *, title: str = "", side: int = SIDE
) -> Image.Image:
    """Strengths in columns, seeds in rows: how the subject comes in as the adapter acts more."""
    columns = sorted(by_strength)
    rows = zip(*(by_strength[strength] for strength in columns), strict=True)
    return sheets.grid(
        [list(row) for row in rows], columns=[f"{strength:g}" for strength in columns], title=title, side=side
    )


def real_and_generated(
    real: Sequence[Image.Image], generated: Mapping[str, Sequence[Image.Image]], *, side: int = 192
) -> Image.Image:
    """The subject's photos in the first row, then a row of pictures a prompt or method."""
    names = ["photos", *generated]
    return sheets.grid([list(real), *(list(images) for images in generated.values())], names=names, side=side)


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 255."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (first, second))
    return float(np.abs(a - b).mean())
