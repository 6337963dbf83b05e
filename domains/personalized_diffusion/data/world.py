"""The made world of the tiny base: pictures of many creatures in eight scenes, with captions.

A picture shows one creature. Its caption names its kind, its main colour, often its markings, its headpiece and their
colour, and the scene. Its eyes and its build are never said, so a base knows the variety of a kind and can only learn
an individual from its pictures. Individuals with a held-out pair of markings and headpiece appear nowhere in
pre-training. How things look is in `scenery.py` and `creatures.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from domains.personalized_diffusion.data import creatures, scenery
from domains.personalized_diffusion.data.creatures import BUILDS, COLOURS, EYES, HEADS, KINDS, MARKINGS, Individual
from domains.personalized_diffusion.data.scenery import SCENES

SIZE = 64
"""Pixels of a picture's side."""

HELD_OUT = (("spots", "hat"), ("stripes", "antenna"), ("belly", "horns"))
"""Pairs of markings and headpiece that only subjects have."""

TOKEN = "sks"
WORDS = ("a", "photo", "picture", "of", "an", "the", "sprite", TOKEN, "with", "and")

__all__ = ["COLOURS", "HELD_OUT", "KINDS", "SCENES", "SIZE", "SUBJECTS", "TOKEN", "Individual", "Sprite"]


@dataclass(frozen=True)
class Sprite:
    """One picture of a creature: where it stands, how large, which way it looks, in which scene.

    Attributes:
        x, y: its middle, in shares of the picture's side. size: share of the side that its canvas takes.
        flip: mirrored. tilt: in degrees. seed: of the scene's small variations.
    """

    individual: Individual
    scene: str
    x: float
    y: float
    size: float
    flip: bool
    tilt: float
    seed: int

    def caption(self, rng: random.Random | None = None) -> str:
        """Kind, colour and scene; with `rng`, what pre-training says: by chance less, or its looks too."""
        of = self.individual
        article, colour, looks, scene = "a", f"{of.colour} ", "", f" {self.scene}"
        if rng is not None:
            article = rng.choice(("a", "a", "a photo of a"))
            colour = colour if rng.random() < 0.8 else ""
            looks = self._looks() if rng.random() < 0.6 else ""
            scene = scene if rng.random() < 0.85 else ""
        return f"{article} {colour}{of.kind}{looks}{scene}"

    def _looks(self) -> str:
        of = self.individual
        worn = [name for name, bare in ((of.markings, "plain"), (of.head, "none")) if name != bare]
        return f" with {of.second} {' and '.join(worn)}" if worn else ""


SUBJECTS: dict[str, Individual] = {
    "robot": Individual("robot", "orange", "blue", "stripes", "antenna", "round", "tall"),
    "monster": Individual("monster", "purple", "yellow", "spots", "hat", "round", "usual"),
    "cat": Individual("cat", "green", "white", "belly", "horns", "sleepy", "usual"),
}
"""The held-out subjects by kind."""


def individual(rng: random.Random) -> Individual:
    """A creature of the pre-training family."""
    while True:
        (colour, second), kind = rng.sample(list(COLOURS), 2), rng.choice(KINDS)
        looks = (rng.choice(options) for options in (MARKINGS, HEADS, EYES, tuple(BUILDS)))
        made = Individual(kind, colour, second, *looks)
        if (made.markings, made.head) not in HELD_OUT:
            return made


def sprite(of: Individual, rng: random.Random, scene: str | None = None) -> Sprite:
    """A picture of a creature, at random where it is not told."""
    return Sprite(
        of,
        scene or rng.choice(SCENES),
        rng.uniform(0.46, 0.54),
        rng.uniform(0.53, 0.56),
        rng.uniform(0.84, 0.92),
        rng.random() < 0.5,
        rng.uniform(-3, 3),
        rng.randrange(1 << 30),
    )


def draw(picture: Sprite) -> Image.Image:
    """The picture, 64 x 64 RGB."""
    side = SIZE * scenery.SCALE
    canvas = scenery.scene(picture.scene, side, random.Random(picture.seed))
    figure = creatures.figure(picture.individual).rotate(picture.tilt, Image.Resampling.BICUBIC)
    if picture.flip:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    wide, high = (round(side * picture.size * share) for share in BUILDS[picture.individual.build])
    figure = figure.resize((wide, high), Image.Resampling.BICUBIC)
    corner = (round(picture.x * side - wide / 2), round(picture.y * side - high / 2))
    canvas.paste(figure, corner, figure)
    return canvas.reduce(scenery.SCALE)


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
    """(3, 64, 64) float32 in [-1, 1]."""
    return np.asarray(draw(picture), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


def vocabulary() -> list[str]:
    """Every word of the captions, and the rare token."""
    scenes = [word for scene in SCENES for word in scene.split()]
    return list(dict.fromkeys([*WORDS, *COLOURS, *KINDS, *MARKINGS[1:], *HEADS[1:], *scenes]))


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
