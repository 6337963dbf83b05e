"""Made people: who is to be seen in a made portrait, and how they hold themselves in one picture of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Color = tuple[float, float, float]
"""Red, green and blue in 0-1."""

HairStyle = Literal["short", "long", "curly", "bald", "bun", "fringe"]
Room = Literal["wall", "sky", "library", "forest", "studio"]

SKINS: Mapping[str, Color] = {
    "porcelain": (0.96, 0.83, 0.75),
    "fair": (0.92, 0.75, 0.64),
    "olive": (0.80, 0.63, 0.48),
    "tan": (0.71, 0.51, 0.37),
    "brown": (0.53, 0.36, 0.25),
    "dark": (0.36, 0.24, 0.18),
}
HAIRS: Mapping[str, Color] = {
    "black": (0.09, 0.08, 0.09),
    "brown": (0.29, 0.18, 0.11),
    "auburn": (0.45, 0.19, 0.10),
    "blond": (0.80, 0.63, 0.36),
    "grey": (0.62, 0.62, 0.63),
}
EYES: Mapping[str, Color] = {
    "brown": (0.31, 0.18, 0.09),
    "hazel": (0.46, 0.34, 0.16),
    "green": (0.30, 0.46, 0.30),
    "blue": (0.28, 0.46, 0.66),
}
CLOTHES: Mapping[str, Color] = {
    "red": (0.66, 0.16, 0.16),
    "blue": (0.16, 0.29, 0.55),
    "green": (0.15, 0.42, 0.30),
    "white": (0.88, 0.87, 0.85),
    "black": (0.12, 0.12, 0.14),
    "yellow": (0.83, 0.64, 0.18),
}
ROOMS: Mapping[Room, tuple[Color, Color]] = {
    "wall": ((0.80, 0.76, 0.70), (0.60, 0.57, 0.54)),
    "sky": ((0.45, 0.64, 0.86), (0.82, 0.88, 0.93)),
    "library": ((0.38, 0.27, 0.19), (0.24, 0.16, 0.11)),
    "forest": ((0.34, 0.46, 0.28), (0.14, 0.24, 0.14)),
    "studio": ((0.36, 0.38, 0.43), (0.13, 0.14, 0.17)),
}


@dataclass(frozen=True)
class Person:
    """What stays the same in every picture of somebody.

    Attributes:
        light: from where the light comes, (right, down, towards the viewer), of length 1.
        width, jaw, eye_gap, eye_size, nose, mouth: of the face, 1 being the average.
    """

    seed: int
    skin: str
    hair: str
    style: HairStyle
    eyes: str
    clothes: str
    room: Room
    glasses: bool
    beard: bool
    freckles: bool
    light: Color
    width: float
    jaw: float
    eye_gap: float
    eye_size: float
    brows: float
    nose: float
    mouth: float

    def caption(self) -> str:
        """Who is to be seen, in a sentence."""
        hair = "no hair" if self.style == "bald" else f"{self.hair} {_STYLES[self.style]}"
        extras = [name for name, worn in (("glasses", self.glasses), ("a beard", self.beard)) if worn]
        *first, last = [hair, *extras]
        features = f"{', '.join(first)} and {last}" if first else last
        return f"a portrait of a person with {features} in {_articled(self.clothes)} shirt, {_ROOMS[self.room]}"


@dataclass(frozen=True)
class Pose:
    """How a person holds their head in one picture.

    Attributes:
        x, y: of the head's middle, from the picture's, in sides of the picture.
        scale: of the head, 1 filling about two thirds of the picture's height.
        tilt: degrees clockwise. turn: of the head to the right, -1 to 1, where 1 is about 35 degrees.
        mouth_open, blink, smile: 0 to 1. gaze: of the eyes to the right, -1 to 1.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    turn: float = 0.0
    mouth_open: float = 0.0
    blink: float = 0.0
    smile: float = 0.3
    gaze: float = 0.0


_STYLES: Mapping[str, str] = {
    "short": "short hair",
    "long": "long hair",
    "curly": "curly hair",
    "bun": "hair in a bun",
    "fringe": "hair with a fringe",
}
_ROOMS: Mapping[str, str] = {
    "wall": "in front of a bright wall",
    "sky": "under a blue sky",
    "library": "in a library",
    "forest": "in a forest",
    "studio": "in a dark studio",
}


def person(seed: int, **fixed: Any) -> Person:
    """Somebody, by a number; `fixed` names fields that are given."""
    rng = np.random.default_rng([seed, 0x9F])
    side, height = rng.uniform(-0.75, 0.75), rng.uniform(-0.75, -0.25)
    light = np.array([side, height, rng.uniform(0.7, 1.1)])
    light /= np.linalg.norm(light)
    style: HairStyle = rng.choice(
        ["short", "long", "curly", "bald", "bun", "fringe"], p=[0.26, 0.24, 0.16, 0.08, 0.1, 0.16]
    )
    drawn = {
        "skin": str(rng.choice(list(SKINS))),
        "hair": str(rng.choice(list(HAIRS), p=[0.28, 0.28, 0.14, 0.18, 0.12])),
        "style": str(style),
        "eyes": str(rng.choice(list(EYES), p=[0.45, 0.18, 0.15, 0.22])),
        "clothes": str(rng.choice(list(CLOTHES))),
        "room": str(rng.choice(list(ROOMS))),
        "glasses": bool(rng.random() < 0.28),
        "beard": bool(rng.random() < (0.34 if style in ("short", "bald", "curly") else 0.04)),
        "freckles": bool(rng.random() < 0.2),
        "light": tuple(float(value) for value in light),
        "width": float(rng.uniform(0.92, 1.09)),
        "jaw": float(rng.uniform(0.86, 1.12)),
        "eye_gap": float(rng.uniform(0.94, 1.07)),
        "eye_size": float(rng.uniform(0.9, 1.14)),
        "brows": float(rng.uniform(0.75, 1.35)),
        "nose": float(rng.uniform(0.85, 1.18)),
        "mouth": float(rng.uniform(0.88, 1.15)),
    }
    return Person(seed=seed, **{**drawn, **fixed})


def _articled(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
