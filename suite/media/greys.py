"""Pictures of more than eight bits as pictures of eight."""

from __future__ import annotations

import numpy as np
from PIL import Image


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has greys of 16 or 32 bits, or floating point."""
    return image.mode.startswith(("I", "F"))


def eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits, or floating point, in RGB; pillow's own conversion cuts them off at 255.

    Floating point is from 0 to 1; whole numbers beyond 8 bits are 16 bits wide, unless they do not fit in those.

    Raises:
        ValueError: its numbers are no greys of a known range.
    """
    values = np.asarray(image, dtype=np.float64)  # (height, width)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("it holds negative numbers, NaN or Inf, which are no greys; save it with 8 or 16 bits")
    tops = [1.0, 255.0] if image.mode == "F" else [] if image.mode.startswith("I;16") else [255.0]
    most = next((top for top in (*tops, 65535.0, 2.0**31 - 1, 2.0**32 - 1) if values.max() <= top), None)
    if most is None:
        raise ValueError(f"its greys go up to {values.max():g}, which is no known range; save it with 8 or 16 bits")
    return Image.fromarray((values * (255 / most)).round().astype(np.uint8)).convert("RGB")
