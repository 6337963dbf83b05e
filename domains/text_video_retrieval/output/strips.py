"""Strips of frames with their times, and the sentences that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from suite.media.sheets import font_for, grid, shortened
from suite.media.style import INK, MUTED, PALETTE

Pixels = NDArray[np.uint8]

SIDE = 150
"""Longer side of a frame in a strip, pixels."""
MOST = 12
"""Frames in a strip; of more, evenly chosen ones."""


def clock(seconds: float) -> str:
    """A time as people read it.

    >>> clock(83.4)
    '1:23.4'
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def strip(pictures: Sequence[Pixels], times: Sequence[float], title: str = "", side: int = SIDE) -> Image.Image:
    """Frames side by side with their times above."""
    chosen = np.linspace(0, len(pictures) - 1, min(MOST, len(pictures)), dtype=int)
    images = [_enlarged(pictures[place], side) for place in chosen]
    return grid([images], columns=[clock(times[place]) for place in chosen], title=title, side=side)


def compared(pictures: Sequence[Pixels], times: Sequence[float], scores: Mapping[str, float], name: str) -> Image.Image:
    """A strip, and below it the sentences with bars as long as their cosines, the nearest first."""
    top = strip(pictures, times, name)
    if not scores:
        return top
    font, line, width = font_for("".join(scores), 15), 26, top.width
    canvas = Image.new("RGB", (width, top.height + line * len(scores) + 8), "white")
    canvas.paste(top, (0, 0))
    pen = ImageDraw.Draw(canvas)
    words, most = int(0.62 * width), max(0.01, *(abs(score) for score in scores.values()))
    for place, (sentence, score) in enumerate(scores.items()):
        middle = top.height + 4 + line * place + line // 2
        pen.text((8, middle), shortened(sentence, font, words - 16), fill=INK, font=font, anchor="lm")
        length = max(0.0, score) / most * (width - words - 70)
        pen.rectangle([words, middle - 7, words + length, middle + 7], fill=PALETTE[0] if place == 0 else MUTED)
        pen.text((words + length + 6, middle), f"{score:.3f}", fill=INK, font=font, anchor="lm")
    return canvas


def thumbnail(picture: Pixels, side: int = 320) -> Image.Image:
    """A frame with its longer side at `side`, smooth."""
    return _enlarged(picture, side)


def _enlarged(picture: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)
