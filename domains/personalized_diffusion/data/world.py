"""The made world of the tiny base: sprites of many individuals on plain scenes, with captions.

A picture shows one creature. Its caption names its kind, its main colour and the scene. What makes it an individual
(second colour, markings, headpiece, eyes, build) is never said, so a base knows the variety of a kind and can only
learn an individual from its pictures. Individuals with a held-out pair of markings and headpiece appear nowhere in
pre-training.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32
"""Pixels of a picture's side."""
SCALE = 8
"""Pictures are drawn this many times larger and reduced, for smooth edges."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (240, 140, 30),
    "yellow": (246, 211, 45),
    "green": (46, 160, 67),
    "blue": (44, 100, 214),
    "purple": (142, 68, 173),
    "pink": (244, 143, 177),
    "brown": (121, 78, 44),
    "white": (245, 245, 245),
    "black": (38, 38, 42),
}
KINDS = ("robot", "monster", "fish", "bird", "cat")
SCENES = {
    "on a green field": ((168, 216, 240), (96, 182, 84)),
    "in the snow": ((200, 216, 230), (250, 250, 252)),
    "on the beach": ((130, 205, 235), (238, 214, 156)),
    "in the desert": ((250, 200, 130), (214, 150, 84)),
    "at night": ((24, 26, 62), (44, 48, 74)),
    "under water": ((64, 150, 190), (30, 96, 140)),
    "in a room": ((236, 226, 208), (164, 118, 84)),
    "on a red carpet": ((222, 206, 190), (186, 40, 52)),
}
MARKINGS = ("plain", "belly", "spots", "stripes", "patch")
HEADS = ("none", "ears", "horns", "antenna", "hat", "crest")
EYES = ("two", "one", "wide", "sleepy")
BUILDS = ("round", "tall", "wide")
HELD_OUT = (("spots", "hat"), ("stripes", "antenna"), ("belly", "horns"))
"""Pairs of markings and headpiece that only subjects have."""

TOKEN = "sks"
WORDS = ("a", "photo", "picture", "of", "an", "the", "sprite", TOKEN)


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
class Sprite:
    """One picture of a creature: where it stands, how large, which way it looks, in which scene."""

    individual: Individual
    scene: str
    x: float
    y: float
    size: float
    flip: bool
    tilt: float
    seed: int

    def caption(self, rng: random.Random | None = None) -> str:
        """What pre-training says of it: kind, colour and scene, or by chance less."""
        article, colour, scene = "a", f"{self.individual.colour} ", f" {self.scene}"
        if rng is not None:
            article = rng.choice(("a", "a", "a photo of a"))
            colour = colour if rng.random() < 0.75 else ""
            scene = scene if rng.random() < 0.85 else ""
        return f"{article} {colour}{self.individual.kind}{scene}"


SUBJECTS: dict[str, Individual] = {
    "robot": Individual("robot", "orange", "blue", "stripes", "antenna", "wide", "tall"),
    "monster": Individual("monster", "purple", "yellow", "spots", "hat", "two", "round"),
    "cat": Individual("cat", "green", "white", "belly", "horns", "wide", "round"),
}
"""The held-out subjects by kind."""


def individual(rng: random.Random) -> Individual:
    """A creature of the pre-training family."""
    while True:
        colour, second = rng.sample(list(COLOURS), 2)
        made = Individual(
            rng.choice(KINDS), colour, second, *(rng.choice(options) for options in (MARKINGS, HEADS, EYES, BUILDS))
        )
        if (made.markings, made.head) not in HELD_OUT:
            return made


def sprite(of: Individual, rng: random.Random, scene: str | None = None) -> Sprite:
    """A picture of a creature, at random where it is not told."""
    return Sprite(
        of,
        scene or rng.choice(list(SCENES)),
        rng.uniform(0.44, 0.56),
        rng.uniform(0.46, 0.54),
        rng.uniform(0.84, 1.04),
        rng.random() < 0.5,
        rng.uniform(-8, 8),
        rng.randrange(1 << 30),
    )


def draw(picture: Sprite) -> Image.Image:
    """The picture, 32 x 32 RGB."""
    canvas = _scene(picture)
    figure = _figure(picture.individual).rotate(picture.tilt, Image.Resampling.BICUBIC)
    if picture.flip:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = round(SIZE * SCALE * picture.size)
    figure = figure.resize((side, side), Image.Resampling.LANCZOS)
    corner = (round(picture.x * SIZE * SCALE - side / 2), round(picture.y * SIZE * SCALE - side / 2))
    canvas.paste(figure, corner, figure)
    return canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _scene(picture: Sprite) -> Image.Image:
    rng = random.Random(picture.seed)
    shift = rng.randint(-10, 10)
    back, ground = (tuple(max(0, min(255, c + shift)) for c in colour) for colour in SCENES[picture.scene])
    side = SIZE * SCALE
    canvas = Image.new("RGB", (side, side), back)
    pen = ImageDraw.Draw(canvas)
    horizon = round(side * rng.uniform(0.6, 0.7))
    pen.rectangle((0, horizon, side, side), fill=ground)
    if picture.scene == "at night":
        for _ in range(6):
            x, y = rng.randrange(side), rng.randrange(horizon)
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(250, 246, 210))
    return canvas


CANVAS = 256


def _figure(of: Individual) -> Image.Image:
    """The creature alone on a transparent square."""
    main, second = COLOURS[of.colour], COLOURS[of.second]
    figure = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    pen = ImageDraw.Draw(figure)
    width = {"round": 64, "tall": 50, "wide": 78}[of.build]
    height = {"round": 62, "tall": 76, "wide": 52}[of.build]
    body = (128 - width, 150 - height, 128 + width, 150 + height)
    _limbs(pen, of, body, main, second)
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    shape = ImageDraw.Draw(mask)
    if of.kind == "robot":
        shape.rounded_rectangle(body, 14, fill=255)
    elif of.kind == "monster":
        shape.rounded_rectangle((*body[:2], body[2], body[3] + 8), 54, fill=255)
    else:
        shape.ellipse(body, fill=255)
    skin = Image.new("RGBA", (CANVAS, CANVAS), (*main, 255))
    _markings(ImageDraw.Draw(skin), of, body, second)
    _head(pen, of, body, second)
    figure.paste(skin, (0, 0), mask)
    outline = ImageDraw.Draw(figure)
    if of.kind == "robot":
        outline.rounded_rectangle(body, 14, outline=(20, 20, 24), width=5)
    elif of.kind == "monster":
        outline.rounded_rectangle((*body[:2], body[2], body[3] + 8), 54, outline=(20, 20, 24), width=5)
    else:
        outline.ellipse(body, outline=(20, 20, 24), width=5)
    _face(outline, of, body)
    return figure


Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]


def _limbs(pen: ImageDraw.ImageDraw, of: Individual, body: Box, main: Colour, second: Colour) -> None:
    left, top, right, bottom = body
    dark = (20, 20, 24)
    if of.kind in ("robot", "monster"):
        for x in (128 - 30, 128 + 30):
            pen.rectangle((x - 12, bottom - 10, x + 12, bottom + 24), fill=main, outline=dark, width=4)
        if of.kind == "robot":
            for x in (left - 14, right + 14):
                pen.rectangle((x - 9, 128, x + 9, 180), fill=main, outline=dark, width=4)
    elif of.kind == "fish":
        pen.polygon(((right - 12, 150), (right + 44, 112), (right + 44, 188)), fill=main, outline=dark, width=4)
        pen.polygon(((110, bottom - 8), (146, bottom - 8), (134, bottom + 22)), fill=main, outline=dark, width=4)
    elif of.kind == "bird":
        pen.polygon(((left + 10, 138), (left - 36, 152), (left + 10, 166)), fill=(245, 170, 40), outline=dark, width=4)
        for x in (112, 144):
            pen.line((x, bottom - 4, x, bottom + 26), fill=(245, 170, 40), width=8)
        pen.polygon(((right - 8, 140), (right + 36, 116), (right + 20, 170)), fill=main, outline=dark, width=4)
    else:
        pen.arc((right - 20, 110, right + 50, 200), -60, 140, fill=main, width=14)
        for x in (100, 156):
            pen.ellipse((x - 15, bottom - 12, x + 15, bottom + 14), fill=main, outline=dark, width=4)
        for side in (-1, 1):
            x = 128 + side * 38
            pen.polygon(
                ((x - 20, top + 20), (x + 20, top + 20), (x + side * 12, top - 24)), fill=main, outline=dark, width=4
            )


def _markings(pen: ImageDraw.ImageDraw, of: Individual, body: Box, second: Colour) -> None:
    left, top, right, bottom = body
    middle = (top + bottom) // 2
    if of.markings == "belly":
        pen.ellipse((left + 24, middle + 4, right - 24, bottom + 26), fill=second)
    elif of.markings == "spots":
        for x, y in ((left + 22, middle + 14), (right - 22, middle + 8), (128, middle + 42), (128 - 6, top + 12)):
            pen.ellipse((x - 13, y - 13, x + 13, y + 13), fill=second)
    elif of.markings == "stripes":
        for y in range(middle + 8, bottom + 20, 26):
            pen.rectangle((left, y, right, y + 12), fill=second)
    elif of.markings == "patch":
        pen.rectangle((128, top, right, bottom + 10), fill=second)


def _head(pen: ImageDraw.ImageDraw, of: Individual, body: Box, second: Colour) -> None:
    _, top, _, _ = body
    dark = (20, 20, 24)
    if of.head == "ears":
        for x in (92, 164):
            pen.ellipse((x - 18, top - 26, x + 18, top + 20), fill=second, outline=dark, width=4)
    elif of.head == "horns":
        for side in (-1, 1):
            x = 128 + side * 30
            pen.polygon(
                ((x - 12, top + 14), (x + 12, top + 14), (x + side * 20, top - 40)), fill=second, outline=dark, width=4
            )
    elif of.head == "antenna":
        pen.line((128, top + 8, 128, top - 34), fill=dark, width=7)
        pen.ellipse((128 - 15, top - 52, 128 + 15, top - 22), fill=second, outline=dark, width=4)
    elif of.head == "hat":
        pen.rectangle((128 - 30, top - 42, 128 + 30, top + 8), fill=second, outline=dark, width=4)
        pen.rectangle((128 - 52, top - 4, 128 + 52, top + 10), fill=second, outline=dark, width=4)
    elif of.head == "crest":
        for x in (104, 128, 152):
            pen.polygon(((x - 16, top + 14), (x + 16, top + 14), (x, top - 32)), fill=second, outline=dark, width=4)


def _face(pen: ImageDraw.ImageDraw, of: Individual, body: Box) -> None:
    _, top, _, bottom = body
    y = top + (bottom - top) // 3
    dark = (20, 20, 24)
    places = {"two": (108, 148), "one": (128,), "wide": (96, 160), "sleepy": (108, 148)}[of.eyes]
    radius = 22 if of.eyes == "one" else 14
    for x in places:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white", outline=dark, width=4)
        if of.eyes == "sleepy":
            pen.line((x - radius, y, x + radius, y), fill=dark, width=8)
        else:
            pen.ellipse((x - radius // 2, y - radius // 2, x + radius // 2, y + radius // 2), fill=dark)


def sample(rng: random.Random) -> Sprite:
    """A picture of the pre-training family."""
    return sprite(individual(rng), rng)


def subject_photos(name: str, count: int, seed: int = 0) -> list[Sprite]:
    """Pictures of a held-out subject, in scenes in turn."""
    rng = random.Random(f"{name}/{seed}")
    scenes = list(SCENES)
    rng.shuffle(scenes)
    return [sprite(SUBJECTS[name], rng, scenes[number % len(scenes)]) for number in range(count)]


def pixels(picture: Sprite) -> np.ndarray:
    """(3, 32, 32) float32 in [-1, 1]."""
    return np.asarray(draw(picture), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


def vocabulary() -> list[str]:
    """Every word of the captions, and the rare token."""
    spoken = [*WORDS, *COLOURS, *KINDS, *(word for scene in SCENES for word in scene.split())]
    return list(dict.fromkeys(spoken))


def write_photos(folder: Path, name: str, count: int, seed: int = 0) -> list[Path]:
    """Write pictures of a held-out subject as PNG files, each with a caption beside it that tells its scene.

    The same count and seed give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for path, picture in zip(paths, subject_photos(name, count, seed), strict=True):
        draw(picture).save(path)
        path.with_suffix(".txt").write_text(f"a {picture.individual.kind} {picture.scene}\n", encoding="utf-8")
    return paths
