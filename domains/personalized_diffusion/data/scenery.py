"""The scenes of the made world: a sky, a ground and what stands there, drawn large and reduced for smooth edges."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

SCALE = 4
"""Pictures are drawn this many times larger and reduced."""

SCENES = (
    "on a green field",
    "in the snow",
    "on the beach",
    "in the desert",
    "at night",
    "under water",
    "in a room",
    "on a red carpet",
)

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Shapes on a canvas whose sides are 100, each moved by a small random step.

    Args:
        canvas: what is drawn on, square.
        rng: of the steps.
    """

    def __init__(self, canvas: Image.Image, rng: random.Random) -> None:
        self.canvas, self.pen, self.rng = canvas, ImageDraw.Draw(canvas), rng
        self.unit = canvas.width / 100
        self.dx = self.dy = 0.0

    def move(self, most: float = 2.5) -> None:
        """What is drawn from here on stands up to `most` aside."""
        self.dx, self.dy = (self.rng.uniform(-most, most) for _ in range(2))

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [((x + self.dx) * self.unit, (y + self.dy) * self.unit) for x, y in points]

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        [a, b] = self._at([(left, top), (right, bottom)])
        self.pen.rectangle((*a, *b), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour, high: float = 1.0) -> None:
        [a, b] = self._at([(x - radius, y - radius * high), (x + radius, y + radius * high)])
        self.pen.ellipse((*a, *b), fill=fill)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        self.pen.polygon(self._at(points), fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        self.pen.line(self._at(points), fill=fill, width=round(width * self.unit), joint="curve")


def scene(name: str, side: int, rng: random.Random) -> Image.Image:
    """An empty scene, `side` x `side` RGB.

    Raises:
        KeyError: no scene has this name.
    """
    canvas = Image.new("RGB", (side, side))
    _DRAWN[name](Pen(canvas, rng))
    return canvas


def _field(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (150, 206, 244))
    pen.move()
    pen.disc(84, 15, 10, (255, 221, 64))
    pen.move()
    for x, y, radius in ((16, 17, 7), (25, 14, 9), (34, 18, 6)):
        pen.disc(x, y, radius, (255, 255, 255), 0.75)
    pen.move(1.5)
    pen.disc(18, 92, 60, (104, 190, 84), 0.55)
    pen.disc(86, 96, 58, (84, 174, 72), 0.55)
    pen.box(-5, 80, 105, 105, (84, 174, 72))
    for x, y in ((10, 86), (90, 84), (80, 94), (22, 95)):
        pen.disc(x, y, 2.2, (255, 250, 250))
        pen.disc(x, y, 1, (250, 200, 40))


def _snow(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (168, 190, 214))
    for left, top in ((2, 30), (72, 24)):
        pen.move(2)
        pen.box(left + 10, 66, left + 15, 80, (104, 76, 54))
        for step in range(3):
            y = top + 14 * step
            half = 8 + 3 * step
            middle = left + 12.5
            pen.shape(((middle - half, y + 20), (middle + half, y + 20), (middle, y)), (44, 108, 84))
            pen.shape(((middle - half * 0.45, y + 9), (middle + half * 0.45, y + 9), (middle, y)), (248, 250, 255))
    pen.move(1.5)
    pen.disc(24, 102, 62, (244, 248, 255), 0.5)
    pen.disc(84, 104, 58, (232, 240, 252), 0.5)
    pen.box(-5, 88, 105, 108, (244, 248, 255))
    for x, y in ((8, 12), (30, 8), (44, 20), (62, 9), (92, 12), (36, 38), (64, 34), (94, 50), (4, 56)):
        pen.disc(x, y, 1.8, (255, 255, 255))


def _beach(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (136, 212, 246))
    pen.move(1.5)
    pen.disc(18, 16, 9, (255, 226, 84))
    pen.box(-5, 46, 105, 72, (30, 132, 196))
    for y in (52, 59):
        pen.line(((-5, y), (105, y)), (120, 196, 230), 1.5)
    pen.box(-5, 66, 105, 110, (246, 222, 160))
    pen.line(((-5, 66), (105, 66)), (250, 250, 250), 2.5)
    pen.move(2)
    pen.line(((90, 84), (88, 62), (83, 36)), (140, 96, 56), 5)
    for angle in (200, 235, 305, 340, 160, 20):
        end = (83 + 21 * math.cos(math.radians(angle)), 36 + 17 * math.sin(math.radians(angle)))
        middle = (83 + 12 * math.cos(math.radians(angle)), 36 + 17 * math.sin(math.radians(angle)) * 0.75 - 3)
        pen.line(((83, 36), middle, end), (40, 150, 70), 4)


def _desert(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (252, 206, 138))
    pen.move()
    pen.disc(78, 20, 13, (252, 120, 60))
    pen.move(1.5)
    pen.disc(80, 88, 60, (226, 160, 92), 0.45)
    pen.disc(20, 100, 70, (238, 178, 106), 0.48)
    pen.box(-5, 84, 105, 108, (238, 178, 106))
    green = (58, 132, 74)
    pen.move(2)
    pen.line(((14, 80), (14, 34)), green, 8)
    pen.line(((14, 62), (4, 62), (4, 46)), green, 5)
    pen.line(((14, 56), (24, 56), (24, 42)), green, 5)
    for x, y in ((14, 34), (4, 46), (24, 42)):
        pen.disc(x, y, 4 if x == 14 else 2.5, green)


def _night(pen: Pen) -> None:
    sky = (32, 36, 92)
    pen.box(-5, -5, 105, 105, sky)
    pen.move(2)
    pen.disc(20, 20, 12, (252, 240, 176))
    pen.disc(26, 16, 10.5, sky)
    for x, y, radius in ((46, 10, 1.8), (70, 14, 2.2), (90, 8, 1.6), (84, 30, 1.8), (8, 46, 1.8), (94, 48, 1.8)):
        pen.disc(x, y, radius, (255, 250, 210))
    pen.move(1.5)
    pen.disc(16, 100, 60, (62, 70, 128), 0.5)
    pen.disc(88, 102, 58, (74, 82, 144), 0.5)
    pen.box(-5, 86, 105, 108, (62, 70, 128))


def _water(pen: Pen) -> None:
    for step in range(10):
        share = step / 9
        red, green, blue = (round(above + (below - above) * share) for above, below in _DEPTH)
        pen.box(-5, step * 10 - 1, 105, step * 10 + 12, (red, green, blue))
    pen.move(1.5)
    pen.disc(50, 106, 80, (206, 190, 136), 0.2)
    for x in (7, 14, 88, 95):
        pen.move(1.5)
        points = [(x + 3 * math.sin(y / 6 + x), y) for y in range(46 if x in (7, 95) else 60, 100, 2)]
        pen.line(points, (30, 134, 92), 3.5)
    pen.move()
    for x, y, radius in ((16, 20, 4), (24, 34, 2.6), (82, 12, 3.2), (88, 28, 4.4), (76, 24, 2)):
        pen.disc(x, y, radius, (216, 244, 252))
        pen.disc(x, y, radius * 0.6, (110, 196, 222))


_DEPTH = ((70, 14), (184, 92), (220, 156))
"""Red, green and blue of the water, above and below."""


def _room(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (242, 226, 190))
    pen.move(2)
    pen.box(6, 10, 34, 44, (255, 255, 255))
    pen.box(9, 13, 31, 41, (134, 204, 244))
    pen.box(19, 13, 21, 41, (255, 255, 255))
    pen.box(9, 26, 31, 28, (255, 255, 255))
    pen.move(2)
    pen.box(70, 12, 92, 34, (150, 92, 50))
    pen.box(73, 15, 89, 31, (250, 240, 220))
    pen.shape(((74, 30), (81, 20), (88, 30)), (96, 150, 90))
    pen.move(1.5)
    pen.box(-5, 70, 105, 110, (176, 118, 70))
    pen.box(-5, 68, 105, 72, (255, 250, 240))
    for y in (80, 90):
        pen.line(((-5, y), (105, y)), (146, 94, 54), 1.5)


def _carpet(pen: Pen) -> None:
    pen.box(-5, -5, 105, 105, (64, 52, 74))
    pen.move(1.5)
    pen.box(-5, 66, 105, 110, (120, 112, 122))
    pen.shape(((34, 66), (66, 66), (98, 106), (2, 106)), (206, 30, 46))
    for x in (12, 88):
        pen.box(x - 2, 42, x + 2, 80, (236, 190, 66))
        pen.disc(x, 41, 4, (250, 214, 96))
        pen.disc(x, 80, 5, (236, 190, 66), 0.5)
    pen.line(((-4, 52), (4, 56), (12, 46)), (206, 30, 46), 3)
    pen.line(((104, 52), (96, 56), (88, 46)), (206, 30, 46), 3)
    for x in (20, 50, 80):
        pen.shape(((x, -4), (x - 12, 34), (x + 12, 34)), (96, 84, 98))


_DRAWN = dict(zip(SCENES, (_field, _snow, _beach, _desert, _night, _water, _room, _carpet), strict=True))
