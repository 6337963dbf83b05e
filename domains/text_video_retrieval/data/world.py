"""The made world: sprites that act on plain grounds, one after another, and the sentences that say so.

A clip has one event or two, each in a shot of its own. "A red square moves left, then a blue circle appears": the
sentence with the two turned round is true of another clip, of exactly the same pictures in another order, so that
whoever takes a video for a bag of pictures cannot tell them apart. Pre-training sees still pictures of some shapes
only; all actions, every order of events and the other shapes are held out from it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]
Split = Literal["train", "val", "test"]

SIDE = 64
"""Pixels of a picture's side, unless asked otherwise."""
FRAMES = 8
"""Frames of a clip, half of them for each of two events."""
FPS = 2.0
"""Frames a second, so that a clip lasts four seconds."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 50, 47),
    "orange": (242, 140, 40),
    "yellow": (250, 214, 60),
    "green": (52, 168, 83),
    "blue": (52, 104, 220),
    "purple": (142, 68, 173),
    "pink": (246, 140, 180),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
"""Those that pre-training sees."""
HELD_OUT = ("star", "heart")
"""Those that it does not."""
PATTERNS = ("plain", "striped", "dotted", "checkered")
GROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "on grass": ((126, 178, 92), (96, 150, 70)),
    "on sand": ((226, 202, 150), (206, 176, 120)),
    "in the sky": ((176, 214, 242), (128, 184, 230)),
    "at night": ((34, 38, 78), (18, 20, 46)),
    "on a grey floor": ((150, 152, 158), (112, 114, 120)),
}
SIZES = {"small": 0.13, "big": 0.21}
ACTIONS = (
    *("moves left", "moves right", "moves up", "moves down"),
    *("appears", "disappears", "grows", "shrinks", "jumps", "turns"),
)
OPPOSITES = dict(zip(ACTIONS, (ACTIONS[place ^ 1] for place in range(len(ACTIONS))), strict=True))
"""Of each action the one that is most like it: the other way round, or turning for jumping."""
WORDS = ("a", "an", "and", "then", "while", "left", "right", "of", "above", "below", "picture", "photo")


@dataclass(frozen=True)
class Sprite:
    """One figure.

    Attributes:
        x, y: its middle, of the picture's side. size: half its width.
    """

    colour: str
    shape: str
    pattern: str = "plain"
    size: str = "big"
    x: float = 0.5
    y: float = 0.5

    def name(self, *, whole: bool = False) -> str:
        """`red striped square`; with its size where all is told."""
        words = [self.size if whole else "", self.colour, "" if self.pattern == "plain" else self.pattern, self.shape]
        return " ".join(word for word in words if word)

    def called(self, *, whole: bool = False) -> str:
        """The name with its article."""
        name = self.name(whole=whole)
        return f"{'an' if name.startswith('o') else 'a'} {name}"


@dataclass(frozen=True)
class Event:
    """What a sprite of a clip does."""

    sprite: int
    action: str


@dataclass(frozen=True)
class Clip:
    """Sprites on a ground, and what they do, one after another.

    Attributes:
        caption: the sentence. frames: how many pictures.
    """

    sprites: tuple[Sprite, ...]
    events: tuple[Event, ...]
    ground: str
    caption: str
    seed: int
    frames: int = FRAMES

    def turned(self) -> Clip:
        """The clip that is most like it: of two events in the other order, or of one whose action is the opposite."""
        events = self.events[::-1]
        if len(events) == 1:
            events = (Event(events[0].sprite, OPPOSITES[events[0].action]),)
        return Clip(self.sprites, events, self.ground, told(self.sprites, events), self.seed, self.frames)

    def pictures(self, side: int = SIDE) -> Pixels:
        """(frames, side, side, 3), RGB."""
        times = [(frame + 0.5) / self.frames for frame in range(self.frames)]
        return np.stack([self.picture(time, side) for time in times])

    def picture(self, time: float, side: int = SIDE) -> Pixels:
        """The picture at a time from 0 to 1: (side, side, 3)."""
        shown = list(_acting(self, time))
        return draw(self.ground, shown, side, self.seed)


def clip(split: Split, number: int, *, events: int | None = None, shapes: Sequence[str] = SHAPES + HELD_OUT) -> Clip:
    """The clip of a number; other splits have other clips.

    Args:
        events: 1 or 2; two out of three clips have two where left out.
        shapes: of the sprites.
    """
    seed = {"train": 0, "val": 1, "test": 2}[split] + 3 * number
    rng = random.Random(f"clip-{seed}")
    count = events or rng.choice((1, 2, 2))
    ground = rng.choice(sorted(GROUNDS))
    sprites = _sprites(rng, count, shapes)
    happens = tuple(Event(place, action) for place, action in enumerate(rng.sample(ACTIONS, count)))
    return Clip(sprites, happens, ground, told(sprites, happens), seed)


def told(sprites: Sequence[Sprite], events: Sequence[Event]) -> str:
    """The sentence of a clip's events."""
    return ", then ".join(f"{sprites[event.sprite].called()} {event.action}" for event in events)


def still(number: int, side: int = SIDE) -> tuple[Pixels, str]:
    """A picture for pre-training (side, side, 3) and its caption: no action, no held-out shape.

    Where a picture of an even number says how two sprites lie, the next one has them change places, and its caption is
    of the same words in another order.
    """
    rng = random.Random(f"still-{number // 2}")
    ground = rng.choice(sorted(GROUNDS))
    count = rng.choice((1, 2, 2, 2))
    sprites = _sprites(rng, count, SHAPES)
    is_placed = count == 2 and rng.random() < 0.75
    if number % 2 and is_placed:
        first, second = sprites
        sprites = (replace(second, x=first.x, y=first.y), replace(first, x=second.x, y=second.y))
    elif number % 2:
        ground = rng.choice(sorted(GROUNDS))
        sprites = _sprites(rng, count, SHAPES)
    one, *others = (sprite.called(whole=True) for sprite in sprites)
    if not others:
        text = one
    elif not is_placed:
        text = f"{one} and {others[0]}"
    elif abs(sprites[0].x - sprites[1].x) > abs(sprites[0].y - sprites[1].y):
        text = f"{one} {'left' if sprites[0].x < sprites[1].x else 'right'} of {others[0]}"
    else:
        text = f"{one} {'above' if sprites[0].y < sprites[1].y else 'below'} {others[0]}"
    turned = [(sprite, sprite.x, sprite.y, SIZES[sprite.size], rng.uniform(-0.4, 0.4)) for sprite in sprites]
    return draw(ground, turned, side, number), f"{text} {ground}"


def vocabulary() -> list[str]:
    """Every word of the world's sentences."""
    phrases = (*WORDS, *COLOURS, *SHAPES, *HELD_OUT, *PATTERNS, *GROUNDS, *SIZES, *ACTIONS, ",")
    return sorted({word for phrase in phrases for word in phrase.split()})


Shown = tuple[Sprite, float, float, float, float]
"""A sprite with its middle, half its width, and its angle."""


def draw(ground: str, shown: Sequence[Shown], side: int, seed: int) -> Pixels:
    """Sprites on a ground: (side, side, 3)."""
    large = 2 * side  # drawn twice as large, for smooth edges
    image = Image.fromarray(_ground(ground, large, seed))
    for sprite, x, y, size, angle in shown:
        _put(image, sprite, x * large, y * large, size * large, angle)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _sprites(rng: random.Random, count: int, shapes: Sequence[str]) -> tuple[Sprite, ...]:
    """Sprites of different colours and shapes, in different corners."""
    colours, kinds = rng.sample(sorted(COLOURS), count), rng.sample(list(shapes), count)
    corners = rng.sample([(0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)], count)
    return tuple(
        Sprite(
            colour,
            kind,
            rng.choice(PATTERNS),
            rng.choice(sorted(SIZES)),
            x + rng.uniform(-0.06, 0.06),
            y + rng.uniform(-0.06, 0.06),
        )
        for colour, kind, (x, y) in zip(colours, kinds, corners, strict=True)
    )


def _acting(clip: Clip, time: float) -> list[Shown]:
    """What is to be seen of the clip at a time from 0 to 1: the sprite whose turn it is."""
    place = min(int(time * len(clip.events)), len(clip.events) - 1)
    event = clip.events[place]
    sprite = clip.sprites[event.sprite]
    x, y, size, angle = _after(event.action, time * len(clip.events) - place, sprite.x, sprite.y, SIZES[sprite.size])
    return [(sprite, x, y, size, angle)] if size > 0.01 else []


def _after(action: str, done: float, x: float, y: float, size: float) -> tuple[float, float, float, float]:
    """Place, size and angle once a share of an action is done."""
    eased = done * done * (3 - 2 * done)
    way = 0.42 * (eased - 0.5)
    angle = 0.0
    if action.startswith("moves"):
        dx, dy = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[action.split()[1]]
        # Back and forth over the middle of its way, so that the pictures of opposite moves are the same ones.
        x, y = x + dx * way, y + dy * way
        x, y = min(0.88, max(0.12, x)), min(0.88, max(0.12, y))
    elif action == "appears":
        size *= min(1.0, max(0.0, 2 * eased - 0.5))
    elif action == "disappears":
        size *= 1 - min(1.0, max(0.0, 2 * eased - 0.5))
    elif action in ("grows", "shrinks"):
        size *= 0.55 + 0.9 * (eased if action == "grows" else 1 - eased)
    elif action == "jumps":
        y -= 0.22 * math.sin(math.pi * eased)
    else:
        angle = math.pi * eased
    return x, y, size, angle


def _ground(name: str, side: int, seed: int) -> Pixels:
    """A gradient from top to bottom with a fine grain: (side, side, 3)."""
    top, bottom = (np.array(colour, dtype=np.float32) for colour in GROUNDS[name])
    slope = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    # The grain is drawn at one size and repeated, so that a clip has the same one at every size.
    grain = np.random.default_rng(seed).normal(0, 5, (32, 32, 1)).astype(np.float32)
    cells = np.arange(side) * len(grain) // side
    tiled = grain[cells][:, cells]
    return (top + (bottom - top) * slope + tiled).clip(0, 255).astype(np.uint8)


def _put(image: Image.Image, sprite: Sprite, x: float, y: float, size: float, angle: float) -> None:
    """Draw one sprite with its shadow."""
    half = max(2, round(1.5 * size))
    mask = Image.new("L", (2 * half, 2 * half))
    pen = ImageDraw.Draw(mask)
    turned = [
        (
            half + size * (px * math.cos(angle) - py * math.sin(angle)),
            half + size * (px * math.sin(angle) + py * math.cos(angle)),
        )
        for px, py in OUTLINES[sprite.shape]
    ]
    pen.polygon(turned, fill=255)
    if sprite.shape == "ring":
        pen.ellipse([half - 0.5 * size, half - 0.5 * size, half + 0.5 * size, half + 0.5 * size], fill=0)
    corner = (round(x - half), round(y - half))
    shadow = (corner[0] + round(0.12 * size) + 1, corner[1] + round(0.16 * size) + 1)
    image.paste((20, 22, 30), shadow, mask.point(lambda value: value * 2 // 5))
    image.paste(_filled(sprite, 2 * half, size), corner, mask)


def _filled(sprite: Sprite, side: int, size: float) -> Image.Image:
    """A square of the sprite's colour and pattern."""
    colour = COLOURS[sprite.colour]
    dark = tuple(int(0.5 * value) for value in colour)
    fill = Image.new("RGB", (side, side), colour)
    pen, step = ImageDraw.Draw(fill), max(3.0, size * 0.45)
    count = int(side / step) + 1
    if sprite.pattern == "striped":
        for row in range(0, count, 2):
            pen.rectangle([0, row * step, side, (row + 1) * step - 1], fill=dark)
    elif sprite.pattern == "checkered":
        for row in range(count):
            for column in range(row % 2, count, 2):
                left, top = column * step, row * step
                pen.rectangle([left, top, left + step - 1, top + step - 1], fill=dark)
    elif sprite.pattern == "dotted":
        radius = 0.28 * step
        for row in range(count):
            for column in range(count):
                across, down = (column + 0.5) * step, (row + 0.5) * step
                pen.ellipse([across - radius, down - radius, across + radius, down + radius], fill=dark)
    return fill


def _regular(corners: int, *, first: float = -0.25, radius: float = 1.0) -> list[tuple[float, float]]:
    turns = (2 * math.pi * (first + corner / corners) for corner in range(corners))
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]


def _star() -> list[tuple[float, float]]:
    outer, inner = _regular(5, radius=1.15), _regular(5, first=-0.15, radius=0.48)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart() -> list[tuple[float, float]]:
    turns = (2 * math.pi * step / 40 for step in range(40))
    return [
        (
            math.sin(turn) ** 3,
            -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)) / 15,
        )
        for turn in turns
    ]


ARM = 0.34
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _regular(40),
    "ring": _regular(40),
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0.0, -1.05), (1.0, 0.85), (-1.0, 0.85)],
    "diamond": [(0.0, -1.15), (0.8, 0.0), (0.0, 1.15), (-0.8, 0.0)],
    "cross": [
        *((-ARM, -1.0), (ARM, -1.0), (ARM, -ARM), (1.0, -ARM), (1.0, ARM), (ARM, ARM)),
        *((ARM, 1.0), (-ARM, 1.0), (-ARM, ARM), (-1.0, ARM), (-1.0, -ARM), (-ARM, -ARM)),
    ],
    "star": _star(),
    "heart": _heart(),
}
"""Corners of each shape, in halves of its width."""
