"""The creatures of the made world: five kinds; colours, markings, headpiece, eyes and build make an individual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 52, 52),
    "orange": (246, 142, 30),
    "yellow": (250, 214, 48),
    "green": (58, 176, 76),
    "blue": (48, 108, 224),
    "purple": (150, 76, 184),
    "pink": (246, 142, 180),
    "white": (248, 248, 248),
}
KINDS = ("robot", "monster", "fish", "bird", "cat")
MARKINGS = ("plain", "belly", "spots", "stripes")
HEADS = ("none", "horns", "antenna", "hat", "crown")
EYES = ("round", "one", "sleepy")
BUILDS = {"usual": (1.0, 1.0), "tall": (0.9, 1.08), "wide": (1.1, 0.92)}
"""How much wider and higher than usual."""

CANVAS = 256
"""Pixels of a creature's square; it stands in its middle, 20 to 236."""
DARK = (26, 24, 32)
WIDTH = 7
"""Of outlines, in pixels of the canvas."""

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Individual:
    """One creature: what stays the same in all of its pictures."""

    kind: str
    colour: str
    second: str
    markings: str
    head: str
    eyes: str
    build: str


@dataclass(frozen=True)
class Plan:
    """Where a kind has what: its marked body, the top of its head, its eyes.

    Attributes:
        body: the box that markings lie in. round: radius of the body's corners; None is an ellipse.
        top: x and y of where a headpiece sits. eyes: their middles. radius: of an eye.
    """

    body: Box
    round: float | None
    top: tuple[float, float]
    eyes: tuple[tuple[float, float], ...]
    radius: float


PLANS: dict[str, Plan] = {
    "robot": Plan((76, 126, 180, 206), 12, (128, 46), ((104, 78), (152, 78)), 15),
    "monster": Plan((66, 58, 190, 214), 60, (128, 60), ((102, 102), (154, 102)), 19),
    "fish": Plan((34, 84, 190, 196), None, (112, 88), ((72, 128),), 17),
    "bird": Plan((74, 104, 204, 202), None, (96, 44), ((86, 76),), 13),
    "cat": Plan((80, 130, 176, 220), None, (128, 54), ((104, 92), (152, 92)), 14),
}


def figure(of: Individual) -> Image.Image:
    """The creature alone on a transparent square, 256 x 256 RGBA."""
    plan, main, second = PLANS[of.kind], COLOURS[of.colour], COLOURS[of.second]
    canvas = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    _BEHIND[of.kind](pen, main)
    _body(canvas, plan, of.markings, main, second)
    _FRONT[of.kind](pen, main)
    _headpiece(pen, of.head, plan.top, second)
    _eyes(pen, of.eyes, plan)
    return canvas


def _body(canvas: Image.Image, plan: Plan, markings: str, main: Colour, second: Colour) -> None:
    """The marked body, cut out by its outline."""
    mask = Image.new("L", canvas.size, 0)
    skin = Image.new("RGBA", canvas.size, (*main, 255))
    _markings(ImageDraw.Draw(skin), markings, plan.body, second)
    outline = ImageDraw.Draw(canvas)
    if plan.round is None:
        ImageDraw.Draw(mask).ellipse(plan.body, fill=255)
        canvas.paste(skin, (0, 0), mask)
        outline.ellipse(plan.body, outline=DARK, width=WIDTH)
    else:
        ImageDraw.Draw(mask).rounded_rectangle(plan.body, plan.round, fill=255)
        canvas.paste(skin, (0, 0), mask)
        outline.rounded_rectangle(plan.body, plan.round, outline=DARK, width=WIDTH)


def _markings(pen: ImageDraw.ImageDraw, markings: str, body: Box, second: Colour) -> None:
    left, top, right, bottom = body
    wide, high = right - left, bottom - top
    if markings == "belly":
        pen.ellipse((left + 0.22 * wide, top + 0.42 * high, right - 0.22 * wide, bottom + 0.14 * high), fill=second)
    elif markings == "spots":
        for x, y in ((0.2, 0.45), (0.8, 0.5), (0.5, 0.86), (0.24, 0.84), (0.78, 0.86), (0.5, 0.56)):
            middle, radius = (left + x * wide, top + y * high), 12
            pen.ellipse((middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius), fill=second)
    elif markings == "stripes":
        for share in (0.4, 0.75):
            pen.rectangle((left, top + share * high - 8, right, top + share * high + 8), fill=second)


def _headpiece(pen: ImageDraw.ImageDraw, head: str, top: tuple[float, float], second: Colour) -> None:
    x, y = top
    kept: dict[str, Any] = {"fill": second, "outline": DARK, "width": WIDTH - 1}
    if head == "horns":
        for side in (-1, 1):
            pen.polygon(((x + side * 14, y + 8), (x + side * 42, y + 12), (x + side * 44, y - 32)), **kept)
    elif head == "antenna":
        pen.line((x, y + 8, x, y - 24), fill=DARK, width=8)
        pen.ellipse((x - 15, y - 44, x + 15, y - 14), **kept)
    elif head == "hat":
        pen.rectangle((x - 28, y - 38, x + 28, y + 4), **kept)
        pen.rounded_rectangle((x - 48, y - 6, x + 48, y + 10), 6, **kept)
    elif head == "crown":
        points = ((-36, 10), (-36, -30), (-18, -10), (0, -36), (18, -10), (36, -30), (36, 10))
        pen.polygon([(x + dx, y + dy) for dx, dy in points], **kept)


def _eyes(pen: ImageDraw.ImageDraw, eyes: str, plan: Plan) -> None:
    places, radius = plan.eyes, plan.radius
    if eyes == "one":
        radius *= 1.5
        places = ((sum(x for x, _ in places) / len(places), places[0][1]),)
    for x, y in places:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white", outline=DARK, width=5)
        if eyes == "sleepy":
            pen.chord((x - radius, y - radius, x + radius, y + radius), 180, 360, fill=DARK)
        else:
            pupil = radius * 0.5
            pen.ellipse((x - pupil, y - pupil, x + pupil, y + pupil), fill=DARK)


def _robot_behind(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    steel = (168, 176, 188)
    kept: dict[str, Any] = {"outline": DARK, "width": WIDTH - 1}
    for side in (-1, 1):
        x = 128 + side * 27
        pen.rectangle((x - 11, 196, x + 11, 228), fill=steel, **kept)
        pen.rounded_rectangle((x - 21, 216, x + 21, 238), 6, fill=main, **kept)
        x = 128 + side * 66
        pen.rectangle((x - 11, 132, x + 11, 178), fill=steel, **kept)
        pen.ellipse((x - 17, 168, x + 17, 202), fill=main, **kept)
    pen.rectangle((116, 112, 140, 136), fill=steel, **kept)


def _robot_front(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    for x in (70, 186):
        pen.rectangle((x - 8, 70, x + 8, 96), fill=(168, 176, 188), outline=DARK, width=WIDTH - 1)
    pen.rounded_rectangle((72, 46, 184, 118), 14, fill=main, outline=DARK, width=WIDTH)
    pen.rectangle((102, 98, 154, 110), fill=(248, 248, 248), outline=DARK, width=4)
    for x in (115, 128, 141):
        pen.line((x, 98, x, 110), fill=DARK, width=4)


def _monster_behind(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse((128 + side * 34 - 24, 202, 128 + side * 34 + 24, 236), fill=main, outline=DARK, width=WIDTH)
        for width, colour in ((30, DARK), (17, main)):
            points = ((128 + side * 56, 150), (128 + side * 84, 136), (128 + side * 96, 106))
            pen.line(points, fill=colour, width=width, joint="curve")
            x, y = points[-1]
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)


def _monster_front(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    pen.chord((94, 112, 162, 168), 0, 180, fill=(120, 24, 40), outline=DARK, width=5)
    for x in (106, 128, 150):
        pen.polygon(((x - 9, 140), (x + 9, 140), (x, 153)), fill="white")


def _fish_behind(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    kept: dict[str, Any] = {"fill": main, "outline": DARK, "width": WIDTH}
    pen.polygon(((178, 140), (240, 88), (226, 140), (240, 192)), **kept)
    pen.polygon(((100, 92), (166, 62), (160, 104)), **kept)
    pen.polygon(((104, 188), (144, 220), (148, 186)), **kept)


def _fish_front(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    pen.arc((28, 132, 78, 176), 20, 110, fill=DARK, width=6)
    pen.arc((86, 100, 134, 180), -70, 70, fill=DARK, width=6)


def _bird_behind(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    kept: dict[str, Any] = {"fill": main, "outline": DARK, "width": WIDTH}
    pen.polygon(((186, 132), (246, 104), (244, 146), (194, 168)), **kept)
    for x in (124, 152):
        pen.line((x, 196, x, 230), fill=(236, 140, 30), width=9)
        pen.line((x - 18, 232, x + 10, 232), fill=(236, 140, 30), width=9)


def _bird_front(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    pen.polygon(((60, 74), (20, 92), (62, 100)), fill=(250, 170, 40), outline=DARK, width=WIDTH - 1)
    pen.ellipse((54, 42, 138, 126), fill=main, outline=DARK, width=WIDTH)
    shade = tuple(round(0.72 * value) for value in main)
    pen.pieslice((116, 96, 206, 184), 0, 180, fill=shade, outline=DARK, width=WIDTH - 1)


def _cat_behind(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    for width, colour in ((28, DARK), (15, main)):
        pen.line(((166, 208), (206, 200), (220, 168), (212, 138)), fill=colour, width=width, joint="curve")
        pen.ellipse((212 - width / 2, 138 - width / 2, 212 + width / 2, 138 + width / 2), fill=colour)
    for side in (-1, 1):
        ear = ((128 + side * 14, 62), (128 + side * 60, 92), (128 + side * 56, 26))
        pen.polygon(ear, fill=main, outline=DARK, width=WIDTH)
        inner = ((128 + side * 30, 60), (128 + side * 52, 70), (128 + side * 50, 44))
        pen.polygon(inner, fill=(246, 168, 180))


def _cat_front(pen: ImageDraw.ImageDraw, main: Colour) -> None:
    for side in (-1, 1):
        x = 128 + side * 26
        pen.ellipse((x - 19, 204, x + 19, 234), fill=main, outline=DARK, width=WIDTH)
    pen.ellipse((66, 50, 190, 142), fill=main, outline=DARK, width=WIDTH)
    pen.polygon(((119, 108), (137, 108), (128, 118)), fill=(240, 110, 130))
    pen.arc((108, 108, 128, 128), 0, 150, fill=DARK, width=5)
    pen.arc((128, 108, 148, 128), 30, 180, fill=DARK, width=5)
    for side in (-1, 1):
        for rise in (-5, 7):
            pen.line((128 + side * 42, 116 + rise / 2, 128 + side * 82, 112 + rise), fill=DARK, width=4)


_BEHIND = {
    "robot": _robot_behind,
    "monster": _monster_behind,
    "fish": _fish_behind,
    "bird": _bird_behind,
    "cat": _cat_behind,
}
_FRONT = {
    "robot": _robot_front,
    "monster": _monster_front,
    "fish": _fish_front,
    "bird": _bird_front,
    "cat": _cat_front,
}
