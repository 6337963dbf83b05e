"""The figures of the made world: what they are drawn of, and one of them as a picture with an outline of its own.

Coordinates run from -1 to 1, to the right and down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIDE = 96
"""Pixels of a figure as it is painted; in a frame it is smaller."""

Part = tuple[str, tuple[float, ...], str]
"""A form (`ellipse` by left, top, right, bottom; `polygon` by its corners), its numbers, and the tone that fills it:
`body` is the patterned one, `trim` the second colour, `dark` and `light` are what they say."""


def _legs(*places: tuple[float, float, float, float], tone: str = "dark") -> list[Part]:
    """Lines with a width, as thin quadrilaterals."""
    parts: list[Part] = []
    for x, y, to_x, to_y in places:
        length = math.hypot(to_x - x, to_y - y)
        across, down = 0.05 * (to_y - y) / length, -0.05 * (to_x - x) / length
        corners = (x + across, y + down, to_x + across, to_y + down, to_x - across, to_y - down, x - across, y - down)
        parts.append(("polygon", corners, tone))
    return parts


def _regular(corners: int, outer: float, inner: float) -> tuple[float, ...]:
    """A star, or with `inner == outer` a regular polygon of twice as many corners."""
    points: list[float] = []
    for corner in range(2 * corners):
        turn, radius = math.pi * (corner / corners - 0.5), outer if corner % 2 == 0 else inner
        points += [radius * math.cos(turn), radius * math.sin(turn)]
    return tuple(points)


FIGURES: dict[str, list[Part]] = {
    "ball": [("ellipse", (-0.85, -0.85, 0.85, 0.85), "body"), ("ellipse", (-0.3, -0.3, 0.3, 0.3), "trim")],
    "crate": [
        ("polygon", (-0.9, -0.75, 0.9, -0.75, 0.9, 0.75, -0.9, 0.75), "body"),
        ("polygon", (-0.9, -0.2, 0.9, -0.2, 0.9, 0.15, -0.9, 0.15), "trim"),
        ("polygon", (-0.15, -0.75, 0.15, -0.75, 0.15, 0.75, -0.15, 0.75), "light"),
    ],
    "star": [("polygon", _regular(5, 0.95, 0.45), "body"), ("ellipse", (-0.25, -0.25, 0.25, 0.25), "trim")],
    "fish": [
        ("polygon", (0.4, 0.0, 0.95, -0.5, 0.85, 0.0, 0.95, 0.5), "trim"),
        ("ellipse", (-0.95, -0.5, 0.6, 0.5), "body"),
        ("polygon", (-0.2, -0.45, 0.3, -0.8, 0.35, -0.3), "trim"),
        ("ellipse", (-0.75, -0.22, -0.5, 0.03), "light"),
        ("ellipse", (-0.69, -0.15, -0.56, -0.02), "dark"),
    ],
    "mushroom": [
        ("polygon", (-0.3, 0.0, 0.3, 0.0, 0.38, 0.9, -0.38, 0.9), "light"),
        (
            "polygon",
            (-0.95, 0.1, -0.8, -0.4, -0.4, -0.8, 0.4, -0.8, 0.8, -0.4, 0.95, 0.1, 0.5, 0.25, -0.5, 0.25),
            "body",
        ),
    ],
    "mug": [
        ("ellipse", (0.3, -0.45, 0.95, 0.45), "trim"),
        ("ellipse", (0.45, -0.25, 0.75, 0.25), "none"),
        ("polygon", (-0.8, -0.75, 0.6, -0.75, 0.5, 0.8, -0.7, 0.8), "body"),
        ("ellipse", (-0.8, -0.9, 0.6, -0.6), "dark"),
    ],
    "car": [
        (
            "polygon",
            (-0.95, 0.05, -0.6, 0.0, -0.35, -0.5, 0.4, -0.5, 0.65, 0.0, 0.95, 0.1, 0.95, 0.4, -0.95, 0.4),
            "body",
        ),
        ("polygon", (-0.42, -0.02, -0.26, -0.38, 0.0, -0.38, 0.0, -0.02), "light"),
        ("polygon", (0.08, -0.02, 0.08, -0.38, 0.33, -0.38, 0.5, -0.02), "light"),
        ("ellipse", (-0.75, 0.18, -0.27, 0.66), "dark"),
        ("ellipse", (0.27, 0.18, 0.75, 0.66), "dark"),
        ("ellipse", (-0.61, 0.32, -0.41, 0.52), "trim"),
        ("ellipse", (0.41, 0.32, 0.61, 0.52), "trim"),
    ],
    "bird": [
        ("polygon", (0.35, 0.1, 0.98, -0.2, 0.95, 0.3), "trim"),
        ("ellipse", (-0.6, -0.35, 0.6, 0.55), "body"),
        ("ellipse", (-0.85, -0.75, -0.2, -0.1), "body"),
        ("polygon", (-0.8, -0.5, -1.0, -0.38, -0.8, -0.28), "light"),
        ("polygon", (-0.15, 0.0, 0.55, -0.65, 0.4, 0.25), "trim"),
        ("ellipse", (-0.68, -0.58, -0.52, -0.42), "dark"),
    ],
    "beetle": [
        *_legs((-0.3, -0.3, -0.9, -0.6), (-0.4, 0.1, -0.95, 0.1), (-0.3, 0.4, -0.85, 0.8)),
        *_legs((0.3, -0.3, 0.9, -0.6), (0.4, 0.1, 0.95, 0.1), (0.3, 0.4, 0.85, 0.8)),
        ("ellipse", (-0.35, -0.95, 0.35, -0.35), "dark"),
        ("ellipse", (-0.6, -0.65, 0.6, 0.9), "body"),
        ("polygon", (-0.03, -0.6, 0.03, -0.6, 0.03, 0.85, -0.03, 0.85), "dark"),
    ],
    "boat": [
        ("polygon", (-0.05, -0.95, 0.03, -0.95, 0.03, 0.3, -0.05, 0.3), "dark"),
        ("polygon", (0.08, -0.9, 0.75, 0.15, 0.08, 0.15), "light"),
        ("polygon", (-0.1, -0.7, -0.6, 0.15, -0.1, 0.15), "trim"),
        ("polygon", (-0.95, 0.28, 0.95, 0.28, 0.65, 0.8, -0.65, 0.8), "body"),
    ],
    "robot": [
        *_legs((0.0, -0.9, 0.0, -0.6)),
        ("ellipse", (-0.1, -1.0, 0.1, -0.8), "trim"),
        ("polygon", (-0.5, -0.65, 0.5, -0.65, 0.5, -0.05, -0.5, -0.05), "trim"),
        ("ellipse", (-0.36, -0.5, -0.1, -0.22), "light"),
        ("ellipse", (0.1, -0.5, 0.36, -0.22), "light"),
        ("polygon", (-0.7, 0.0, 0.7, 0.0, 0.55, 0.7, -0.55, 0.7), "body"),
        ("polygon", (-0.45, 0.7, -0.12, 0.7, -0.12, 0.95, -0.45, 0.95), "dark"),
        ("polygon", (0.12, 0.7, 0.45, 0.7, 0.45, 0.95, 0.12, 0.95), "dark"),
    ],
    "leaf": [
        (
            "polygon",
            (0.0, -0.98, 0.4, -0.55, 0.62, 0.0, 0.4, 0.5, 0.0, 0.8, -0.4, 0.5, -0.62, 0.0, -0.4, -0.55),
            "body",
        ),
        *_legs((0.0, -0.75, 0.0, 0.98), (0.0, 0.25, 0.4, -0.1), (0.0, 0.25, -0.4, -0.1), (0.0, -0.2, -0.3, -0.5)),
    ],
    "duck": [
        ("polygon", (-0.75, 0.0, -0.45, 0.35, -0.98, 0.1), "body"),
        ("ellipse", (-0.8, -0.15, 0.7, 0.8), "body"),
        ("ellipse", (0.05, -0.85, 0.75, -0.02), "body"),
        ("polygon", (0.66, -0.52, 0.98, -0.36, 0.68, -0.22), "trim"),
        ("ellipse", (-0.5, 0.05, 0.2, 0.5), "light"),
        ("ellipse", (0.36, -0.62, 0.52, -0.46), "dark"),
    ],
    "rocket": [
        ("polygon", (-0.25, 0.6, 0.0, 1.0, 0.25, 0.6), "light"),
        ("polygon", (-0.35, 0.1, -0.75, 0.7, -0.3, 0.6), "trim"),
        ("polygon", (0.35, 0.1, 0.75, 0.7, 0.3, 0.6), "trim"),
        ("polygon", (0.0, -1.0, 0.28, -0.55, 0.36, 0.0, 0.3, 0.65, -0.3, 0.65, -0.36, 0.0, -0.28, -0.55), "body"),
        ("ellipse", (-0.18, -0.45, 0.18, -0.09), "dark"),
        ("ellipse", (-0.12, -0.39, 0.12, -0.15), "light"),
    ],
    "turtle": [
        ("ellipse", (-0.75, -0.7, -0.35, -0.3), "trim"),
        ("ellipse", (-0.75, 0.3, -0.35, 0.7), "trim"),
        ("ellipse", (0.3, -0.7, 0.7, -0.3), "trim"),
        ("ellipse", (0.3, 0.3, 0.7, 0.7), "trim"),
        ("ellipse", (0.5, -0.22, 1.0, 0.22), "trim"),
        ("ellipse", (-0.8, -0.6, 0.7, 0.6), "body"),
        ("polygon", tuple(0.42 * value for value in _regular(3, 1.0, 1.0)), "dark"),
        ("ellipse", (0.78, -0.14, 0.88, -0.04), "dark"),
    ],
    "balloon": [
        ("polygon", (-0.35, 0.35, -0.14, 0.68, 0.14, 0.68, 0.35, 0.35), "light"),
        ("polygon", (-0.2, 0.66, 0.2, 0.66, 0.16, 0.98, -0.16, 0.98), "trim"),
        ("ellipse", (-0.75, -1.0, 0.75, 0.5), "body"),
    ],
}
"""Parts of each kind of figure, those at the back first."""

PATTERNS = ("plain", "stripes", "dots", "checks", "patches")

COLOURS = (
    *((214, 62, 52), (238, 138, 40), (244, 208, 72), (76, 168, 88), (44, 132, 176)),
    *((70, 86, 186), (150, 84, 170), (234, 130, 164), (140, 96, 62), (232, 230, 222), (60, 66, 80)),
)


@dataclass(frozen=True)
class Look:
    """How one figure looks.

    Attributes:
        colours: of its body, of the pattern on it, and of its trim: places in `COLOURS`.
        seed: of the pattern.
    """

    kind: str
    pattern: str
    colours: tuple[int, int, int]
    seed: int


def look(rng: np.random.Generator, kind: str) -> Look:
    """A figure of a kind, its colours and pattern drawn."""
    colours = rng.permutation(len(COLOURS))[:3]
    chosen = (int(colours[0]), int(colours[1]), int(colours[2]))
    return Look(kind, str(rng.choice(PATTERNS)), chosen, int(rng.integers(2**31)))


def paint(look: Look, side: int = SIDE) -> Image.Image:
    """The figure, RGBA, (side, side): coloured, lit from above, with a dark rim."""
    large = 2 * side  # painted twice as large, for smooth edges
    tones = _tones(look, large)
    picture = Image.new("RGBA", (large, large))
    for form, numbers, tone in FIGURES[look.kind]:
        area = Image.new("L", (large, large))
        # A little within the canvas, so that what is turned and smoothed stays on it.
        points = [(0.96 * number + 1) / 2 * large for number in numbers]
        pen = ImageDraw.Draw(area)
        (pen.ellipse if form == "ellipse" else pen.polygon)(points, fill=255)
        if tone == "none":
            picture.putalpha(ImageChops.subtract(picture.getchannel("A"), area))
        else:
            picture.paste(tones[tone], (0, 0), area)
    return _lit(picture).resize((side, side), Image.Resampling.BOX)


def _tones(look: Look, side: int) -> dict[str, Image.Image]:
    body, other, trim = (COLOURS[place] for place in look.colours)
    tones = {"trim": trim, "dark": (44, 44, 52), "light": (240, 240, 236)}
    flat = {name: Image.new("RGBA", (side, side), (*colour, 255)) for name, colour in tones.items()}
    patterned = Image.new("RGBA", (side, side), (*body, 255))
    patterned.paste((*other, 255), (0, 0), Image.fromarray(_pattern(look, side)))
    return {"body": patterned, **flat}


def _pattern(look: Look, side: int) -> NDArray[np.uint8]:
    """Where the second colour of the body is: (side, side), 0 or 255."""
    rng = np.random.default_rng(look.seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    turn, cells = rng.uniform(0, math.pi), rng.uniform(4, 7)
    across = (math.cos(turn) * columns + math.sin(turn) * rows) * cells
    down = (math.cos(turn) * rows - math.sin(turn) * columns) * cells
    if look.pattern == "stripes":
        filled = across % 1 < rng.uniform(0.35, 0.6)
    elif look.pattern == "checks":
        filled = (np.floor(across) + np.floor(down)) % 2 == 0
    elif look.pattern == "dots":
        filled = (across % 1 - 0.5) ** 2 + (down % 1 - 0.5) ** 2 < rng.uniform(0.06, 0.12)
    elif look.pattern == "patches":
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        filled = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) > 140
    else:
        filled = np.zeros((side, side), bool)
    return (255 * filled).astype(np.uint8)


def _lit(picture: Image.Image) -> Image.Image:
    """Lighter above, darker below, with a rim."""
    pixels = np.asarray(picture).astype(np.float32)
    side, alpha = len(pixels), picture.getchannel("A")
    blurred = np.asarray(alpha.filter(ImageFilter.BoxBlur(side / 64)), np.float32) / 255
    rim = (2 * blurred - 1).clip(0, 1)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = 1.12 - 0.22 * rows - 0.18 * (rows**2 + columns**2)
    pixels[..., :3] *= (light * (0.55 + 0.45 * rim))[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
