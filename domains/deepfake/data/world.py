"""The made world: short clips of made people, real ones and ones forged by several families of manipulation.

Every clip passes the same camera (light, blur, grain, JPEG) after the forgery, so that what tells a forged clip is the
forgery alone. Which families train and which are only tested is `SEEN` and `UNSEEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from suite.errors import InputError
from suite.media import portraits
from suite.media.portraits import Person, Portrait, Pose

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Plane = NDArray[np.float32]
"""(height, width)."""

SIZE, FRAMES, CROP, SCALE = 140, 4, 64, 0.9
"""Side of a picture, frames of a clip, side of an aligned face and how much is around it.

As many pixels across the eyes in both: aligning resamples nothing away. The crop is closer than the published 1.3, so
that of 64 pixels 22 lie between the eyes.

What a forgery leaves is measured by the distance of the eyes, so that larger pictures show the same.
"""

SPLITS: Mapping[str, int] = {"train": 0, "val": 1, "test": 2, "unseen": 3, "choosing": 4, "calibration": 5}
"""Splits of made data; no person is in two. `unseen` holds families that no training sees, `choosing` further ones."""


@dataclass(frozen=True)
class Shot:
    """One frame before the camera.

    Attributes:
        portrait: the person as they are. other: somebody else in the same pose, drawn on use.
        strength: of the forgery, 0 to 1. seed: of the clip: what is drawn at random is the same in all its frames.
    """

    portrait: Portrait
    other: Callable[[], Portrait]
    strength: float
    seed: int

    @property
    def pixels(self) -> NDArray[np.float32]:
        """(size, size, 3) in 0-1."""
        return (self.portrait.pixels / np.float32(255)).astype(np.float32)

    @property
    def borrowed(self) -> NDArray[np.float32]:
        """The other's picture, as `pixels`."""
        return (self.other().pixels / np.float32(255)).astype(np.float32)

    @property
    def unit(self) -> float:
        """The distance of the eyes, pixels."""
        return float(np.linalg.norm(self.portrait.landmarks[1] - self.portrait.landmarks[0]))

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0xF0])

    def inner(self, soft: float) -> Plane:
        """The face's inside, its edge `soft` distances of the eyes wide."""
        middle = self.portrait.landmarks.mean(0)
        rows, columns = np.mgrid[0 : len(self.portrait.face), 0 : len(self.portrait.face)].astype(np.float32)
        across, down = (columns - middle[0]) / self.unit, (rows - middle[1]) / self.unit
        shape = 1 - np.sqrt((across / 0.95) ** 2 + (down / 1.15) ** 2)
        return (np.clip(shape / max(soft, 0.02), 0, 1) * (self.portrait.face > 0.5)).astype(np.float32)


Forged = tuple[NDArray[np.float32], Plane]
"""The picture, and how much each pixel was changed, 0 to 1."""


def splice(shot: Shot) -> Forged:
    """Blending: another face pasted in with an edge that is too sharp, and colours that almost fit."""
    own, other = shot.pixels, shot.borrowed
    mask = shot.inner(0.45 - 0.4 * shot.strength)
    inside = mask > 0.5
    fitted = _toned(other, own, inside, 1 - 0.25 * shot.strength)
    cast = shot.rng().choice([-1, 1], 3) * (0.02 + 0.06 * shot.strength)
    return _mixed(own, fitted + cast.astype(np.float32), mask), mask


def collage(shot: Shot) -> Forged:
    """Blending: the eyes or the mouth of somebody else, in soft-edged boxes."""
    own, other = shot.pixels, shot.borrowed
    rng = shot.rng()
    points = shot.portrait.landmarks
    place = points[:2].mean(0) if rng.random() < 0.5 else points[3:].mean(0)
    mask = _box(len(own), place, (0.95 * shot.unit, 0.42 * shot.unit), 0.25 * shot.unit * (1.15 - shot.strength))
    fitted = _toned(other, own, mask > 0.5, 1 - 0.25 * shot.strength)
    return _mixed(own, fitted, mask), mask


def upsample(shot: Shot) -> Forged:
    """Frequency: the grid that a generator's last layers leave on what they paint."""
    own, rng = shot.pixels, shot.rng()
    mask = shot.inner(0.3)
    period = shot.unit * rng.choice([0.18, 0.22, 0.27])
    rows, columns = np.mgrid[0 : len(own), 0 : len(own)]
    wave = np.cos(2 * np.pi * rows / period) * np.cos(2 * np.pi * columns / period)
    change = (0.03 + 0.06 * shot.strength) * wave[..., None] * rng.uniform(0.6, 1.0, 3)
    return _mixed(own, own + change.astype(np.float32), mask), mask


def resample(shot: Shot) -> Forged:
    """Frequency: the face computed at a smaller size and scaled up, with the steps of the small one."""
    own = shot.pixels
    mask = shot.inner(0.3)
    factor = 1 / max(1.2, shot.unit * (0.09 + 0.10 * shot.strength))
    small = ndimage.zoom(own, (factor, factor, 1), order=1, grid_mode=True, mode="nearest")
    back = [len(own) / len(small), len(own) / small.shape[1], 1]
    large = ndimage.zoom(small, back, order=0, grid_mode=True, mode="nearest")[: len(own), : len(own)]
    return _mixed(own, _fit(large, own.shape), mask), mask


def smooth(shot: Shot) -> Forged:
    """Texture: skin without pores, lashes or grain."""
    own = shot.pixels
    mask = shot.inner(0.3)
    blurred = ndimage.gaussian_filter(own, (shot.unit * (0.035 + 0.07 * shot.strength),) * 2 + (0,))
    return _mixed(own, blurred, mask), mask


def grain(shot: Shot) -> Forged:
    """Texture: a grain that is not the camera's."""
    own, rng = shot.pixels, shot.rng()
    mask = shot.inner(0.3)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, own.shape), (0.04 * shot.unit, 0.04 * shot.unit, 0))
    noise /= noise.std()
    return _mixed(own, own + (0.03 + 0.05 * shot.strength) * noise.astype(np.float32), mask), mask


def warp(shot: Shot) -> Forged:
    """Geometry: the mouth or an eye pulled out of its place."""
    rng, points = shot.rng(), shot.portrait.landmarks
    place = points[rng.integers(0, 2)] if rng.random() < 0.5 else points[3:].mean(0)
    angle = rng.uniform(0, 2 * np.pi)
    reach = (0.16 + 0.20 * shot.strength) * shot.unit
    return _moved(shot.pixels, place, reach * np.array([np.cos(angle), np.sin(angle)]), 0.42 * shot.unit)


def bulge(shot: Shot) -> Forged:
    """Geometry: an eye or the mouth too large or too small."""
    rng, points = shot.rng(), shot.portrait.landmarks
    place = points[rng.integers(0, 2)] if rng.random() < 0.5 else points[3:].mean(0)
    sign = 1 if rng.random() < 0.5 else -1
    return _swollen(shot.pixels, place, sign * (0.30 + 0.30 * shot.strength), 0.55 * shot.unit)


def seam(shot: Shot) -> Forged:
    """Blending: a face put back where it was, lighter or darker along the line where it was pasted."""
    mask = shot.inner(0.5 - 0.25 * shot.strength)
    ring = (4 * mask * (1 - mask)).astype(np.float32)
    sign = 1 if shot.rng().random() < 0.5 else -1
    own = shot.pixels
    return _mixed(own, own * np.float32(1 + sign * (0.10 + 0.16 * shot.strength)), ring), ring


def sharpen(shot: Shot) -> Forged:
    """Frequency: the face sharpened, its edges doubled by dark and light lines."""
    own = shot.pixels
    mask = shot.inner(0.3)
    soft = ndimage.gaussian_filter(own, (0.06 * shot.unit,) * 2 + (0,))
    return _mixed(own, own + np.float32(0.6 + 1.2 * shot.strength) * (own - soft), mask), mask


def posterize(shot: Shot) -> Forged:
    """Texture: skin in few steps of colour, as a coarse decoder paints it."""
    own = shot.pixels
    mask = shot.inner(0.3)
    steps = np.float32(26 - 16 * shot.strength)
    return _mixed(own, (np.round(own * steps) / steps).astype(np.float32), mask), mask


def widen(shot: Shot) -> Forged:
    """Geometry: the whole lower face wider or narrower than it was."""
    points = shot.portrait.landmarks
    sign = 1 if shot.rng().random() < 0.5 else -1
    place = points[2:].mean(0)
    rows, columns = np.mgrid[0 : len(shot.pixels), 0 : len(shot.pixels)].astype(np.float32)
    across, down = columns - place[0], rows - place[1]
    near = np.exp(-(across**2 + down**2) / (2 * (0.8 * shot.unit) ** 2)).astype(np.float32)
    amount = np.float32(sign * (0.14 + 0.18 * shot.strength))
    return _drawn_from(shot.pixels, rows, columns - amount * near * across), near


FAMILIES: Mapping[str, Callable[[Shot], Forged]] = {
    "splice": splice,
    "collage": collage,
    "upsample": upsample,
    "resample": resample,
    "smooth": smooth,
    "grain": grain,
    "warp": warp,
    "bulge": bulge,
    "seam": seam,
    "sharpen": sharpen,
    "posterize": posterize,
    "widen": widen,
}
"""Three of each kind: blending edges, frequency, texture, geometry."""

SEEN = ("splice", "upsample", "smooth", "warp")
UNSEEN = ("collage", "resample", "grain", "bulge")
CHOOSING = ("seam", "sharpen", "posterize", "widen")
"""Neither trained on nor tested: what is chosen by unseen families is chosen by these."""


@dataclass(frozen=True)
class Clip:
    """A clip and all that is known of it.

    Attributes:
        frames: (frames, size, size, 3). masks: (frames, size, size), where it was forged, 0 to 1.
        landmarks: (frames, 5, 2).
        family: of the forgery, `real` for none. strength: of it.
        person: number of who is to be seen.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.float32]
    landmarks: NDArray[np.float64]
    family: str
    strength: float
    person: int


def clip(
    number: int, family: str = "real", *, frames: int = FRAMES, size: int = SIZE, strength: float | None = None
) -> Clip:
    """A clip by its number: who, how they move, how it was filmed.

    Args:
        family: a key of `FAMILIES`, or `real`.
        strength: of the forgery, 0 to 1; drawn from the upper two thirds where it is left out.

    Raises:
        InputError: there is no such family.
    """
    return clips(number, (family,), frames=frames, size=size, strength=strength)[0]


def clips(
    number: int, families: Sequence[str], *, frames: int = FRAMES, size: int = SIZE, strength: float | None = None
) -> list[Clip]:
    """As `clip`, one of each family: the same moments of the same person, each filmed by itself."""
    if unknown := [family for family in families if family != "real" and family not in FAMILIES]:
        raise InputError(f"no family of forgeries is called {unknown[0]!r}; there is {', '.join(FAMILIES)}")
    rng = np.random.default_rng([number, 0xC11B])
    who, other = portraits.person(number), portraits.person(number + 50_000_000)
    drawn = float(rng.uniform(0.35, 1))
    strength = drawn if strength is None else strength
    shots = [
        Shot(portraits.draw(who, pose, size), _drawer(_lit_as(other, who), pose, size), strength, number)
        for pose in _motion(rng, frames)
    ]
    return [_filmed(shots, family, number, size) for family in families]


def _filmed(shots: Sequence[Shot], family: str, number: int, size: int) -> Clip:
    camera = _Camera(np.random.default_rng([number, *family.encode()]), size / SIZE)
    made, masks = [], []
    for shot in shots:
        untouched = shot.pixels, np.zeros((size, size), dtype=np.float32)
        picture, mask = untouched if family == "real" else FAMILIES[family](shot)
        made.append(camera.film(picture))
        masks.append(mask)
    landmarks = np.stack([shot.portrait.landmarks for shot in shots])
    return Clip(np.stack(made), np.stack(masks), landmarks, family, shots[0].strength, number)


def cast(split: str, count: int) -> list[tuple[int, str]]:
    """Number and family of the clips of a split: each real one and a forgery of it, the split's families in turn.

    Raises:
        InputError: there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"made faces have no split {split!r}; there is {', '.join(SPLITS)}")
    families = {"unseen": UNSEEN, "choosing": CHOOSING}.get(split, SEEN)
    first = 1_000_000 * (1 + SPLITS[split])
    return [(first + n // 2, families[n // 2 % len(families)] if n % 2 else "real") for n in range(count)]


class _Camera:
    """Light, lens, sensor and compression of one clip."""

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self.gain, self.gamma = rng.uniform(0.85, 1.12), rng.uniform(0.9, 1.12)
        self.blur = scale * rng.uniform(0.0, 0.6)
        self.noise = rng.uniform(0.0, 0.012)
        self.quality = int(rng.integers(72, 97))
        self.rng = rng

    def film(self, picture: NDArray[np.float32]) -> Pixels:
        seen = np.clip(picture * self.gain, 0, 1) ** self.gamma
        seen = ndimage.gaussian_filter(seen, (self.blur, self.blur, 0))
        seen = np.clip(seen + self.rng.normal(0, self.noise, seen.shape), 0, 1)
        buffer = BytesIO()
        Image.fromarray((seen * 255).round().astype(np.uint8)).save(buffer, "JPEG", quality=self.quality)
        return np.asarray(Image.open(buffer).convert("RGB"))


def _motion(rng: np.random.Generator, frames: int) -> list[Pose]:
    """A head that turns, tilts, speaks and blinks a little."""
    start = Pose(
        x=rng.uniform(-0.05, 0.05),
        y=rng.uniform(-0.03, 0.04),
        scale=rng.uniform(0.85, 1.1),
        tilt=rng.uniform(-9, 9),
        turn=rng.uniform(-0.45, 0.45),
        smile=rng.uniform(0, 1),
        gaze=rng.uniform(-0.5, 0.5),
    )
    drift = {name: rng.uniform(-1, 1) * reach for name, reach in (("x", 0.04), ("y", 0.02), ("tilt", 6), ("turn", 0.3))}
    rate, phase, wide = rng.uniform(0.5, 2.0), rng.uniform(0, 6.3), rng.uniform(0, 0.6)
    poses = []
    for number in range(frames):
        t = number / max(1, frames - 1)
        moved = {name: getattr(start, name) + t * reach for name, reach in drift.items()}
        spoken = wide * max(0.0, float(np.sin(phase + 6.3 * rate * t)))
        poses.append(replace(start, **moved, mouth_open=spoken, blink=float(rng.random() < 0.08)))
    return poses


def _drawer(who: Person, pose: Pose, size: int) -> Callable[[], Portrait]:
    return lambda: portraits.draw(who, pose, size)


def _lit_as(who: Person, like: Person) -> Person:
    """Somebody in the light and with the skin of another: a forger takes a face that fits."""
    return replace(who, light=like.light, skin=like.skin, glasses=like.glasses, freckles=False, beard=like.beard)


def _mixed(own: NDArray[np.float32], other: NDArray[np.float32], mask: Plane) -> NDArray[np.float32]:
    return np.clip(own + mask[..., None] * (other - own), 0, 1).astype(np.float32)


def _toned(
    picture: NDArray[np.float32], like: NDArray[np.float32], where: NDArray[np.bool_], share: float
) -> NDArray[np.float32]:
    """A picture with the colours that another has at a place, to a share."""
    if not where.any():
        return picture
    mean, spread = picture[where].mean(0), picture[where].std(0) + 1e-3
    aim, width = like[where].mean(0), like[where].std(0)
    fitted = (picture - mean) / spread * width + aim
    return (picture + share * (fitted - picture)).astype(np.float32)


def _box(size: int, middle: NDArray[np.float64], half: tuple[float, float], soft: float) -> Plane:
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    inside = np.minimum(half[0] - np.abs(columns - middle[0]), half[1] - np.abs(rows - middle[1]))
    return np.clip(inside / max(1.0, soft) + 0.5, 0, 1).astype(np.float32)


def _fit(picture: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cut or repeat the last rows and columns to a shape: rounding may be one off."""
    missing = [(0, max(0, shape[axis] - picture.shape[axis])) for axis in (0, 1)]
    return np.pad(picture, (*missing, (0, 0)), mode="edge")[: shape[0], : shape[1]]


def _moved(
    picture: NDArray[np.float32], place: NDArray[np.float64], shift: NDArray[np.float64], radius: float
) -> Forged:
    """What is at a place, moved, the surroundings following."""
    rows, columns = np.mgrid[0 : len(picture), 0 : len(picture)].astype(np.float32)
    near = np.exp(-((columns - place[0]) ** 2 + (rows - place[1]) ** 2) / (2 * radius**2)).astype(np.float32)
    return _drawn_from(picture, rows - near * shift[1], columns - near * shift[0]), near


def _swollen(picture: NDArray[np.float32], place: NDArray[np.float64], amount: float, radius: float) -> Forged:
    """What is at a place, larger (amount above 0) or smaller."""
    rows, columns = np.mgrid[0 : len(picture), 0 : len(picture)].astype(np.float32)
    across, down = columns - place[0], rows - place[1]
    near = np.exp(-(across**2 + down**2) / (2 * radius**2)).astype(np.float32)
    return _drawn_from(picture, rows - amount * near * down, columns - amount * near * across), near


def _drawn_from(picture: NDArray[np.float32], rows: Plane, columns: Plane) -> NDArray[np.float32]:
    channels = [
        ndimage.map_coordinates(picture[..., channel], [rows, columns], order=1, mode="nearest") for channel in range(3)
    ]
    return np.stack(channels, -1).astype(np.float32)
