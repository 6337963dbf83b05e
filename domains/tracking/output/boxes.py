"""Boxes drawn onto frames: a colour an object, its name and score, and what a frame holds when an object is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from domains.tracking.types import Box, TrackedBox
from suite.media import style
from suite.media.sheets import Font, font_for

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Colour = tuple[int, int, int]

_DASH = 6


def colour_of(place: int) -> Colour:
    """Of the object that was added as this one, from 0."""
    code = style.PALETTE[(place + 1) % len(style.PALETTE)]  # orange before blue, which skies and water hide
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def drawn(
    picture: Pixels,
    objects: Mapping[str, TrackedBox],
    places: Mapping[str, int],
    *,
    truths: Sequence[Box] = (),
    label: bool = True,
) -> Pixels:
    """A copy of a frame with a box around each object; one that is uncertain is dashed, one that is lost dotted.

    Args:
        places: of the objects, for their colours. truths: true boxes, in white.
    """
    canvas = Image.fromarray(picture)
    pen, side = ImageDraw.Draw(canvas), max(canvas.size)
    width = max(2, side // 240)
    for box in truths:
        _outline(pen, box, (255, 255, 255), width, "tracked")
    # The first one is drawn last, above the others.
    for name, found in reversed(list(objects.items())):
        if found.box is None:
            continue
        colour = colour_of(places.get(name, 0))
        _outline(pen, found.box, colour, width, found.status)
        if label:
            said = f"{name} {found.score:.2f}" + ("" if found.status == "tracked" else f" {found.status}")
            _label(pen, canvas.size, found.box, said, colour)
    return np.asarray(canvas)


def _outline(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int, status: str) -> None:
    left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if status == "tracked":
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=width)
        return
    dash = _DASH * width if status == "uncertain" else 2 * width
    for start, end in (((left, top), (right, top)), ((left, bottom), (right, bottom))):
        for x in np.arange(start[0], end[0], 2 * dash):
            pen.line((x, start[1], min(x + dash, end[0]), start[1]), fill=colour, width=width)
    for x in (left, right):
        for y in np.arange(top, bottom, 2 * dash):
            pen.line((x, y, x, min(y + dash, bottom)), fill=colour, width=width)


@lru_cache(maxsize=64)
def _font(beyond_ascii: str, size: int) -> Font:
    return font_for(beyond_ascii, size)


def _label(pen: ImageDraw.ImageDraw, size: tuple[int, int], box: Box, text: str, colour: Colour) -> None:
    # Scores change from frame to frame, the letters that decide the font do not.
    font = _font("".join(letter for letter in text if not letter.isascii()), max(11, max(size) // 40))
    room = pen.textbbox((0, 0), text, font=font)
    wide, high = room[2] + 8, room[3] + 5
    # Above the box where there is room, below it elsewhere, and never beyond the frame's edge.
    x = min(max(0.0, box[0]), max(0, size[0] - wide))
    y = box[1] - high if box[1] >= high else min(box[1] + box[3], size[1] - high)
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.text((x + 4, y + 1), text, fill="white", font=font)
