"""The made world: figures that move over a ground, among others and behind posts, and what is true of each frame.

A sequence is a pure function of its split and number. What moves in `test` is of other kinds, and moves in other ways,
than in `train` and `val`; the still scenes that a base is pre-trained on (`still`) have kinds of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.tracking.data import grounds
from domains.tracking.data.motions import path
from domains.tracking.data.sprites import Look, look, paint

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Split = Literal["train", "val", "test"]

WIDTH, HEIGHT, FRAMES, FPS = 240, 180, 40, 20.0

STILL_KINDS = ("ball", "crate", "star", "fish", "mushroom", "mug")
"""Those that pre-training sees."""
TRAIN_KINDS = ("car", "bird", "beetle", "boat", "robot", "leaf")
TEST_KINDS = ("duck", "rocket", "turtle", "balloon")

MOTIONS: dict[Split, tuple[str, ...]] = {
    "train": ("glide", "arc", "walk"),
    "val": ("glide", "arc", "walk"),
    "test": ("zigzag", "dash", "orbit"),
}

SEEN = 0.15
"""Share of a figure that must be in sight for it to be there at all."""

ATTRIBUTES = ("occlusion", "scale change", "rotation", "fast motion", "distractors", "camera motion")


@dataclass(frozen=True)
class Actor:
    """One figure over the whole of a sequence.

    Attributes:
        places: (frames, 2), its middle in pixels of the frame.
        sizes: (frames,), its height as it is painted. turns: (frames,), counter-clockwise, degrees.
    """

    look: Look
    places: NDArray[np.float64]
    sizes: NDArray[np.float64]
    turns: NDArray[np.float64]


@dataclass(frozen=True)
class Post:
    """Something in front of everything, that moves with the ground."""

    middle: float
    width: float
    seed: int


@dataclass(frozen=True)
class Truth:
    """What is true of one figure in one frame.

    Attributes:
        box: left, top, right, bottom of all of it, hidden parts too, cut at the frame's edge.
        seen: share of it that is in sight.
    """

    box: tuple[float, float, float, float]
    seen: float

    @property
    def present(self) -> bool:
        """Whether enough of it is in sight."""
        return self.seen >= SEEN


@dataclass(frozen=True)
class Scene:
    """A sequence: nothing is painted before it is asked for.

    Attributes:
        actors: the first is the one to follow.
        order: of the actors, from the one in front to the one at the back.
        drift: (frames, 2), by which the ground has moved.
        attributes: those of `ATTRIBUTES` that it has.
    """

    name: str
    actors: tuple[Actor, ...]
    order: tuple[int, ...]
    posts: tuple[Post, ...]
    ground: str
    seed: int
    drift: NDArray[np.float64]
    width: int = WIDTH
    height: int = HEIGHT
    attributes: tuple[str, ...] = ()
    _truths: dict[tuple[int, int], Truth] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.drift)

    @cached_property
    def _ground(self) -> Pixels:
        return grounds.paint(self.ground, self.width + 2 * REACH, self.height + 2 * REACH, self.seed)

    def picture(self, frame: int) -> Pixels:
        """(height, width, 3)."""
        left, top = (REACH + round(shift) for shift in self.drift[frame])
        canvas = Image.fromarray(self._ground[top : top + self.height, left : left + self.width])
        for actor in (self.actors[place] for place in reversed(self.order)):
            figure, corner = _placed(actor, frame)
            shadow = figure.getchannel("A").point(lambda value: value * 2 // 5)
            lower = corner[0] + 2 + round(actor.sizes[frame] / 24), corner[1] + 3 + round(actor.sizes[frame] / 16)
            canvas.paste((20, 24, 28), lower, shadow)
            canvas.paste(figure, corner, figure)
        for post in self.posts:
            trunk = _trunk(round(post.width), self.height, post.seed)
            canvas.paste(trunk, (round(post.middle - self.drift[frame][0] - post.width / 2), 0), trunk)
        return np.asarray(canvas)

    def truth(self, actor: int, frame: int) -> Truth:
        """What is true of the figure `actor` in a frame."""
        key = (actor, frame)
        if key not in self._truths:
            self._truths[key] = self._measured(actor, frame)
        return self._truths[key]

    def _measured(self, number: int, frame: int) -> Truth:
        figure, (left, top) = _placed(self.actors[number], frame)
        own = np.asarray(figure.getchannel("A")) > 127
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        box = np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1], np.float64)
        inside = own.copy()
        down, across = np.arange(own.shape[0]) + top, np.arange(own.shape[1]) + left
        inside[(down < 0) | (down >= self.height)] = False
        inside[:, (across < 0) | (across >= self.width)] = False
        for post in self.posts:
            start = round(post.middle - self.drift[frame][0] - post.width / 2)
            inside[:, (across >= start) & (across < start + round(post.width))] = False
        for other in self.order[: self.order.index(number)]:
            _hide(inside, (left, top), *_placed(self.actors[other], frame))
        x1, y1, x2, y2 = np.clip(box, 0, [self.width, self.height] * 2)
        return Truth((float(x1), float(y1), float(x2), float(y2)), float(inside.sum() / own.sum()))


REACH = 48
"""Pixels by which the ground may move, each way."""


def scene(
    split: Split,
    number: int,
    *,
    frames: int = FRAMES,
    width: int = WIDTH,
    height: int = HEIGHT,
    kinds: Sequence[str] | None = None,
    motions: Sequence[str] | None = None,
    figures: int | None = None,
) -> Scene:
    """The sequence of a number; other splits have other sequences.

    Args:
        kinds, motions: of what moves; the split's own where left out.
        figures: how many there are; two to four where left out. One of them is of the same kind as the first.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([1 + get_args(Split).index(split), number, attempt])
        drawn = _drawn(
            rng,
            f"{split}-{number:04d}",
            frames,
            (width, height),
            kinds or (TEST_KINDS if split == "test" else TRAIN_KINDS),
            motions or MOTIONS[split],
            figures,
        )
        # What nobody sees in the first frame cannot be pointed at.
        if drawn.truth(0, 0).seen > 0.9:
            break
    return drawn


_ATTEMPTS = 20


def _drawn(
    rng: np.random.Generator,
    name: str,
    frames: int,
    size: tuple[int, int],
    kinds: Sequence[str],
    motions: Sequence[str],
    figures: int | None,
) -> Scene:
    width, height = size
    count = figures or int(rng.integers(2, 5))
    kind = str(rng.choice(kinds))
    looks = [
        look(rng, kind),
        *(look(rng, kind if other == 0 else str(rng.choice(kinds))) for other in range(count - 1)),
    ]
    scaled, turned, drifting = (bool(rng.random() < share) for share in (0.5, 0.5, 0.4))
    fast = bool(rng.random() < 0.25)
    speed = (4.0 if fast else 2.0) * height / HEIGHT
    actors = []
    for place, own in enumerate(looks):
        way = path(str(rng.choice(motions)), rng, frames, size, speed if place == 0 else speed * 0.8)
        actors.append(_actor(own, way, rng, height, scaled, turned))
    posts = _posts(rng, width) if rng.random() < 0.4 else ()
    drift = _sway(rng, frames, (0.6 * REACH, 0.3 * REACH)) if drifting else np.zeros((frames, 2))
    has = (bool(posts), scaled, turned, fast, count > 1, drifting)
    return Scene(
        name=f"{name}-{kind}",
        actors=tuple(actors),
        order=tuple(int(place) for place in rng.permutation(count)),
        posts=posts,
        ground=str(rng.choice(sorted(grounds.GROUNDS))),
        seed=int(rng.integers(2**31)),
        drift=drift,
        width=width,
        height=height,
        attributes=tuple(name for name, there in zip(ATTRIBUTES, has, strict=True) if there),
    )


def still(number: int, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """What is to be seen in `still_scene`: (height, width, 3)."""
    return still_scene(number, width, height).picture(0)


def still_scene(number: int, width: int = WIDTH, height: int = HEIGHT) -> Scene:
    """A scene of one frame for pre-training, of kinds that no sequence has."""
    rng = np.random.default_rng([0, number])
    count = int(rng.integers(3, 8))
    actors = []
    for _ in range(count):
        middle = rng.uniform([0.05 * width, 0.05 * height], [0.95 * width, 0.95 * height])
        size, turn = rng.uniform(0.15, 0.5) * height, rng.uniform(-180, 180)
        own = look(rng, str(rng.choice(STILL_KINDS)))
        actors.append(Actor(own, middle[None], np.array([size]), np.array([turn])))
    ground = str(rng.choice(sorted(grounds.GROUNDS)))
    posts = _posts(rng, width) if rng.random() < 0.3 else ()
    seed = int(rng.integers(2**31))
    order, drift = tuple(range(count)), np.zeros((1, 2))
    return Scene("still", tuple(actors), order, posts, ground, seed, drift, width, height)


def _actor(
    own: Look, way: NDArray[np.float64], rng: np.random.Generator, height: int, scaled: bool, turned: bool
) -> Actor:
    frames = len(way)
    size = rng.uniform(0.2, 0.34) * height
    waves = np.sin(rng.uniform(0, 2 * math.pi) + rng.uniform(0.08, 0.2) * np.arange(frames))
    sizes = size * (1 + (0.35 if scaled else 0.06) * waves)
    rate = rng.choice([-1, 1]) * rng.uniform(2, 5)
    turns = rng.uniform(-180, 180) + rate * np.arange(frames) if turned else 8 * np.sin(0.3 * np.arange(frames))
    return Actor(own, way, sizes, turns)


def _posts(rng: np.random.Generator, width: int) -> tuple[Post, ...]:
    count = int(rng.integers(1, 3))
    return tuple(
        Post((place + rng.uniform(0.3, 0.7)) * width / count, rng.uniform(0.05, 0.09) * width, int(rng.integers(2**31)))
        for place in range(count)
    )


def _sway(rng: np.random.Generator, frames: int, reach: tuple[float, float]) -> NDArray[np.float64]:
    """A ground that moves to and fro: (frames, 2)."""
    times = np.arange(frames)[:, None] * rng.uniform(0.04, 0.1, 2) + rng.uniform(0, 2 * math.pi, 2)
    return np.sin(times) * np.array(reach)


@lru_cache(maxsize=64)
def _painted(own: Look) -> tuple[Image.Image, ...]:
    """The figure at falling sizes: turning and shrinking by more than two would leave jagged edges."""
    levels = [paint(own)]
    while levels[-1].width > 20:
        half = levels[-1].width // 2
        levels.append(levels[-1].convert("RGBa").resize((half, half), Image.Resampling.BOX).convert("RGBA"))
    return tuple(levels)


def _placed(actor: Actor, frame: int) -> tuple[Image.Image, tuple[int, int]]:
    """The figure turned and scaled for a frame, and where its upper left corner goes."""
    return _turned(actor.look, *map(float, (*actor.places[frame], actor.sizes[frame], actor.turns[frame])))


@lru_cache(maxsize=256)
def _turned(own: Look, x: float, y: float, size: float, turn: float) -> tuple[Image.Image, tuple[int, int]]:
    levels = _painted(own)
    level = next((one for one in reversed(levels) if one.width >= size), levels[0])
    half = math.ceil(size * 0.72) + 1  # a turned square's diagonal
    left, top = math.floor(x) - half, math.floor(y) - half
    scale = level.width / size
    cosine, sine = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
    # From pixels of the patch to pixels of the figure; half pixels keep the motion smooth.
    middle_x, middle_y = x - left, y - top
    across = (cosine, -sine, level.width / 2 - cosine * middle_x + sine * middle_y)
    down = (sine, cosine, level.height / 2 - sine * middle_x - cosine * middle_y)
    premultiplied = level.convert("RGBa")
    patch = premultiplied.transform(
        (2 * half + 1, 2 * half + 1), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR
    )
    return patch.convert("RGBA"), (left, top)


def _hide(inside: NDArray[np.bool_], corner: tuple[int, int], front: Image.Image, where: tuple[int, int]) -> None:
    """Take out of `inside` what a figure in front covers."""
    covers = np.asarray(front.getchannel("A")) > 127
    dx, dy = where[0] - corner[0], where[1] - corner[1]
    rows = slice(max(0, dy), min(inside.shape[0], dy + covers.shape[0]))
    columns = slice(max(0, dx), min(inside.shape[1], dx + covers.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        inside[rows, columns] &= ~covers[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]


@cache
def _trunk(width: int, height: int, seed: int) -> Image.Image:
    """A post with bark: RGBA."""
    rng = np.random.default_rng(seed)
    grain = Image.fromarray(rng.integers(0, 256, (height // 12 + 2, max(2, width // 2)), dtype=np.uint8))
    bark = np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255  # (height, width)
    round_ = np.sqrt(np.maximum(0, 1 - np.linspace(-1, 1, width) ** 2)) * 0.6 + 0.4
    colour = np.array([118, 88, 62]) * rng.uniform(0.8, 1.15)
    pixels = (colour * ((0.7 + 0.5 * bark) * round_)[..., None]).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels, np.full((height, width), 255, np.uint8)]))
