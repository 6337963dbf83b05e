"""Pictures of results: boxes with scores, heatmaps over faces."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from suite.media import sheets
from suite.media.sheets import Pixels

CARD = 240
"""Pixels of a side of a card."""

LEGEND = "an explanation aid, no mask"

_COLORS = np.array([(0, 143, 107), (222, 160, 0), (208, 30, 20)], dtype=np.float64)
"""Green, amber and red: of a score of 0, a half and 1."""

Box = tuple[float, float, float, float]


def color_of(score: float) -> tuple[int, int, int]:
    """The colour of a score, from green at 0 to red at 1."""
    place = 2 * min(max(score, 0.0), 1.0)
    low = min(int(place), 1)
    red, green, blue = (_COLORS[low] + (place - low) * (_COLORS[low + 1] - _COLORS[low])).round().astype(int)
    return int(red), int(green), int(blue)


def boxes(
    picture: Pixels,
    faces: Sequence[tuple[Box, float]],
    *,
    word: str = "fake",
    color: tuple[int, int, int] | None = None,
    note: str = "",
) -> Pixels:
    """A copy with a box around each face and its score.

    Args:
        faces: box and score of each. word: before the score. color: of all; by default each has its score's.
        note: in the upper left corner.
    """
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    side = max(picture.shape[:2])
    width, font = max(2, side // 180), ImageFont.load_default(max(11, side // 34))
    for (left, top, right, bottom), score in faces:
        paint = color or color_of(score)
        pen.rectangle((left, top, right, bottom), outline=paint, width=width)
        text = f"{word} {score:.3f}".strip()
        room = pen.textbbox((0, 0), text, font=font)
        high, wide = room[3] + 4, room[2] + 8
        # Above the box where there is room, and never beyond the picture's edge.
        x = min(max(left, 0), max(0, canvas.width - wide))
        y = top - high if top >= high else max(top, 0)
        pen.rectangle((x, y, x + wide, y + high), fill=paint)
        pen.text((x + 4, y + 1), text, fill="white", font=font)
    if note:
        pen.text((8, 6), note, fill="white", font=font, stroke_width=max(1, side // 400), stroke_fill="black")
    return np.asarray(canvas)


def heated(picture: Pixels, heat: NDArray[np.floating], share: float = 0.45) -> Pixels:
    """A map (rows, columns) in 0-1 over a picture of any size, from blue to red."""
    height, width = picture.shape[:2]
    scaled = Image.fromarray(np.asarray(heat, dtype=np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colors = matplotlib.colormaps["turbo"](np.clip(np.asarray(scaled), 0, 1))[..., :3] * 255
    return (picture * (1 - share) + colors * share).round().astype(np.uint8)


def heat_card(picture: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """The face and its map side by side, with the words that say what the map is."""
    crop = fitted(picture, CARD)
    pair = np.concatenate([crop, heated(crop, heat)], axis=1)
    return sheets.caption(pair, LEGEND)


def on_frame(picture: Pixels, heat: NDArray[np.floating], matrix: NDArray[np.float64], size: int) -> Pixels:
    """The map of a crop of `size` pixels, laid back over the picture that it was cut from.

    Args:
        matrix: (2, 3), from the picture to the crop.
    """
    import cv2

    height, width = picture.shape[:2]
    crop = np.asarray(Image.fromarray(np.asarray(heat, dtype=np.float32)).resize((size, size)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(crop, matrix, (width, height), flags=flags)
    inside = cv2.warpAffine(np.ones_like(crop), matrix, (width, height), flags=flags)[..., None]
    return (picture * (1 - inside) + heated(picture, back) * inside).round().astype(np.uint8)


def reduced(picture: Pixels, width: int) -> Pixels:
    """The picture so wide, as high as it comes."""
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, max(1, round(image.height * width / image.width)))))


def fitted(picture: Pixels, side: int) -> Pixels:
    """The picture inside of a square of `side` pixels, on grey."""
    image = sheets.cell(Image.fromarray(picture), side)
    canvas = Image.new("RGB", (side, side), (236, 238, 241))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(canvas)
