"""What a tracker looked at, beside the frame: search crop and score map, templates and masks, scores over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from domains.tracking.output.boxes import Pixels, colour_of
from suite.media.sheets import font_for

_PAPER, _INK, _GRID = (250, 250, 248), (40, 46, 54), (214, 218, 222)

SHOWN = 3
"""Objects in a panel; more would be too small to see."""

_TIMES = 240
"""Frames in the line of scores."""


@dataclass(frozen=True)
class View:
    """What a tracker saw of one object in one frame.

    Attributes:
        search: (side, side, 3), the search crop. scores: (grid, grid) in 0-1, row first.
        box: left, top, right, bottom of the object found, pixels of the search crop.
        templates: of each the crop (side, side, 3) and its mask (grid, grid).
    """

    search: Pixels
    scores: NDArray[np.floating]
    box: tuple[float, float, float, float]
    templates: Sequence[tuple[Pixels, NDArray[np.integer]]]


class ScoreLine:
    """The last scores of each object, for the panel."""

    def __init__(self) -> None:
        self._scores: dict[str, list[float]] = {}

    def add(self, scores: Mapping[str, float]) -> None:
        for name, score in scores.items():
            kept = self._scores.setdefault(name, [])
            kept.append(score)
            del kept[:-_TIMES]

    def drawn(self, width: int, height: int, places: Mapping[str, int]) -> Image.Image:
        """The scores from 0 at the bottom to 1 at the top."""
        canvas = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(canvas)
        for level in (0.25, 0.5, 0.75):
            pen.line((0, height * (1 - level), width, height * (1 - level)), fill=_GRID)
        for name, scores in self._scores.items():
            points = [
                (width - 1 - (len(scores) - 1 - place) * width / _TIMES, (height - 1) * (1 - score))
                for place, score in enumerate(scores)
                if np.isfinite(score)
            ]
            if len(points) > 1:
                pen.line(points, fill=colour_of(places.get(name, 0)), width=2)
        pen.rectangle((0, 0, width - 1, height - 1), outline=_GRID)
        return canvas


def width_of(height: int) -> int:
    """Of the panel beside a frame of this height; even, as videos want it."""
    return 2 * max(80, round(0.3 * height))


def panel(views: Mapping[str, View], line: ScoreLine, places: Mapping[str, int], height: int) -> Pixels:
    """The panel (height, width, 3) beside a frame: the first objects one below another, their scores at the bottom."""
    width = width_of(height)
    canvas = Image.new("RGB", (width, height), _PAPER)
    pen, text = ImageDraw.Draw(canvas), max(10, height // 36)
    font, gap = font_for("".join(views), text), max(3, height // 90)
    bottom = height // 6
    shown = list(views.items())[:SHOWN]
    room = (height - bottom - gap) // max(1, len(shown))
    for number, (name, view) in enumerate(shown):
        top = number * room + gap
        pen.text((gap, top), name, fill=colour_of(places.get(name, 0)), font=font)
        top += text + gap
        space = room - text - 3 * gap
        # Templates stand below the search crop where the panel is high, beside it where several share it.
        below = space >= 1.25 * width
        side = (
            min(width - 2 * gap, space - (width // 3 if below else 0))
            if below
            else min(space, (width - 3 * gap) * 3 // 4)
        )
        canvas.paste(_search(view, side, colour_of(places.get(name, 0))), (gap, top))
        count = max(1, len(view.templates))
        small = (width - gap) // count - gap if below else min(width - side - 3 * gap, space // count - gap)
        for place, (crop, mask) in enumerate(view.templates):
            corner = (
                (gap + place * (small + gap), top + side + gap)
                if below
                else (side + 2 * gap, top + place * (small + gap))
            )
            if small > 8:
                canvas.paste(_template(crop, mask, small), corner)
    scores = line.drawn(width - 2 * gap, bottom - text - 3 * gap, places)
    pen.text((gap, height - bottom), "score", fill=_INK, font=font)
    canvas.paste(scores, (gap, height - bottom + text + gap))
    return np.asarray(canvas)


def heated(picture: Pixels, scores: NDArray[np.floating], share: float = 0.5) -> Pixels:
    """A map (rows, columns) in 0-1 over a picture, from dark to bright."""
    height, width = picture.shape[:2]
    scaled = Image.fromarray(np.asarray(scores, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(scaled), 0, 1)
    colours = matplotlib.colormaps["inferno"](level)[..., :3] * 255
    return (picture * (1 - share) + colours * share).round().astype(np.uint8)


def _search(view: View, side: int, colour: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(heated(view.search, view.scores)).resize((side, side), Image.Resampling.BILINEAR)
    scale = side / len(view.search)
    left, top, right, bottom = (edge * scale for edge in view.box)
    ImageDraw.Draw(image).rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
    return image


def _template(crop: Pixels, mask: NDArray[np.integer], side: int) -> Image.Image:
    """A template, darker where its mask says that it is background."""
    grid = np.kron(mask, np.ones((len(crop) // len(mask),) * 2))[..., None]
    shaded = np.where(grid > 0, crop, crop * 0.55).astype(np.uint8)
    return Image.fromarray(shaded).resize((side, side), Image.Resampling.BILINEAR)
