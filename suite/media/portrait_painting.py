"""The painter of made portraits: an implicit function a part, its edge smoothed over one pixel; numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.media.people import CLOTHES, EYES, HAIRS, ROOMS, SKINS, Person, Pose

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Plane = NDArray[np.float32]
"""(height, width)."""


@dataclass(frozen=True)
class Portrait:
    """A picture, and where what is in it lies.

    Attributes:
        pixels: (size, size, 3).
        landmarks: (5, 2), x and y in pixels: the eye at the left of the picture, the one at the right, the tip of the
            nose, the corners of the mouth at the left and at the right.
        box: of the face, (left, top, right, bottom) in pixels.
        face: (size, size), how far each pixel is part of the face's skin and features, 0 to 1.
        parts: the same of single parts, by name.
    """

    pixels: Pixels
    landmarks: NDArray[np.float64]
    box: tuple[float, float, float, float]
    face: Plane
    parts: Mapping[str, Plane] = field(repr=False)


_HEAD = 0.31
"""Half of the head's height, in sides of the picture."""

_MIDDLE = (0.5, 0.47)

_EYE_Y, _NOSE_Y, _MOUTH_Y = -0.10, 0.26, 0.55
"""In halves of the head's height, from its middle, downwards."""


class Painting:
    """A canvas, and the face's own coordinates on it: `u` to the right, `v` down, the head's height being 2."""

    def __init__(self, who: Person, pose: Pose, size: int) -> None:
        self.who, self.pose, self.size = who, pose, size
        self.rng = np.random.default_rng([who.seed, 0xFACE])
        self.unit = _HEAD * pose.scale * size  # pixels
        middle = np.array([_MIDDLE[0] + pose.x, _MIDDLE[1] + pose.y]) * size
        angle = np.radians(pose.tilt)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self.x, self.y = columns / size, rows / size
        across, down = columns + 0.5 - middle[0], rows + 0.5 - middle[1]
        self.u = ((turn[0, 0] * across + turn[1, 0] * down) / self.unit).astype(np.float32)
        self.v = ((turn[0, 1] * across + turn[1, 1] * down) / self.unit).astype(np.float32)
        self._middle, self._turn = middle, turn
        self.half = 0.76 * who.width
        # Features lie on a ball: turning the head moves them sideways, the nearer to the viewer the more.
        bulge = np.sqrt(np.clip(1 - (self.u / self.half) ** 2 * 0.8 - (self.v / 1.05) ** 2 * 0.6, 0, 1))
        self.fu = self.u - 0.30 * pose.turn * bulge
        self.canvas = np.zeros((size, size, 3), dtype=np.float32)
        self.parts: dict[str, Plane] = {}
        self.skin = np.array(SKINS[who.skin], dtype=np.float32)
        self.hair = np.array(HAIRS[who.hair], dtype=np.float32)

    # What parts are made of

    def inside(self, shape: Plane, soft: float = 0.0) -> Plane:
        """How far each pixel is inside of an implicit function (below 0): its edge one pixel, or `soft` units, wide."""
        down, across = np.gradient(shape)
        slope = np.sqrt(down**2 + across**2) + 1e-6
        edge = max(1.0, soft * self.unit)
        return np.clip(0.5 - shape / slope / edge, 0, 1).astype(np.float32)

    def ellipse(
        self, u: Plane, v: Plane, at: tuple[float, float], radii: tuple[float, float], power: float = 2
    ) -> Plane:
        """An implicit (super)ellipse."""
        return (np.abs((u - at[0]) / radii[0]) ** power + np.abs((v - at[1]) / radii[1]) ** power - 1).astype(
            np.float32
        )

    def paint(self, color: Any, cover: Plane) -> None:
        self.canvas += cover[..., None] * (np.asarray(color, dtype=np.float32) - self.canvas)

    def shade(self, factor: Plane | float, cover: Plane) -> None:
        """Multiply what is there."""
        self.canvas *= (1 + cover * (np.asarray(factor, dtype=np.float32) - 1))[..., None]

    def noise(self, cells: int, seed: int, stretch: float = 1.0) -> Plane:
        """Smooth noise in -1 to 1, `cells` across the picture; it belongs to the person, not to the pose."""
        rng = np.random.default_rng([self.who.seed, seed])
        down = max(2, round(cells / stretch))
        grid = rng.uniform(-1, 1, (down + 2, cells + 2)).astype(np.float32)
        return _sampled(grid, self.x * cells, self.y * down)

    def grain(self, scale: float, seed: int) -> Plane:
        """Noise that sticks to the head: `scale` cells a unit."""
        grid = np.random.default_rng([self.who.seed, seed]).uniform(-1, 1, (64, 64)).astype(np.float32)
        return _sampled(grid, (self.fu + 2) * scale % 62, (self.v + 2) * scale % 62)

    def strands(self, count: float, seed: int) -> Plane:
        """Hair: stripes that run from the crown outwards, in -1 to 1."""
        angle = np.arctan2(self.u, self.v + 1.25) / np.pi
        reach = np.hypot(self.u, self.v + 1.25)
        fine = np.random.default_rng([self.who.seed, seed]).uniform(-1, 1, (8, 512)).astype(np.float32)
        return _sampled(fine, (angle + 1) * count % 510, np.clip(reach * 2.2, 0, 6))

    def curls(self, depth: float) -> Plane:
        """Waves around the head, for the edge of curly hair."""
        angle = np.arctan2(self.u, -(self.v + 0.2))
        return (depth * np.sin(17 * angle + self.who.seed) * (0.7 + 0.3 * np.sin(5 * angle))).astype(np.float32)

    # The parts, from the back to the front

    def room(self) -> None:
        top, bottom = (np.array(color) for color in ROOMS[self.who.room])
        fade = self.y[..., None]
        self.canvas[:] = top * (1 - fade) + bottom * fade
        painters = {"library": self._shelves, "forest": self._leaves, "sky": self._clouds}
        if painter := painters.get(self.who.room):
            painter()
        # The light's fall-off over the wall, and the lens's.
        glow = self.who.light[0] * (self.x - 0.5) + self.who.light[1] * (self.y - 0.5)
        self.canvas *= (1 + 0.35 * glow - 0.35 * ((self.x - 0.5) ** 2 + (self.y - 0.5) ** 2))[..., None]

    def _shelves(self) -> None:
        rng = np.random.default_rng([self.who.seed, 2])
        for shelf in range(4):
            top, x = shelf / 3.6 - 0.02, -0.02
            while x < 1:
                width, height = rng.uniform(0.025, 0.06), rng.uniform(0.17, 0.235)
                color = np.array([0.55, 0.35, 0.25]) * rng.uniform(0.4, 1.1, 3)
                book = np.maximum(
                    np.abs(self.x - x - width / 2) / width, np.abs(self.y - top - 0.26 + height / 2) / height
                )
                self.paint(color, self.inside(book - 0.48, 0.06) * 0.8)
                x += width
            board = (np.abs(self.y - top - 0.268) - 0.01).astype(np.float32)
            self.paint((0.2, 0.13, 0.08), self.inside(board, 0.05))

    def _leaves(self) -> None:
        for place in range(26):
            rng = np.random.default_rng([self.who.seed, 3, place])
            radius = rng.uniform(0.03, 0.10)
            spot = np.hypot(self.x - rng.random(), self.y - rng.random()) - radius
            color = np.array([0.42, 0.55, 0.25]) * rng.uniform(0.5, 1.5)
            self.paint(np.clip(color, 0, 0.9), self.inside(spot.astype(np.float32), 0.10) * 0.5)

    def _clouds(self) -> None:
        cloud = self.noise(5, 4, 2.0) + 0.5 * self.noise(11, 5, 2.0)
        self.paint((0.97, 0.97, 0.98), np.clip(cloud - 0.1, 0, 1).astype(np.float32) * 0.8)

    def hair_behind(self) -> None:
        style, u, v = self.who.style, self.u, self.v
        if style == "bald":
            return
        if style == "long":
            fall = self.ellipse(u / (1 + 0.16 * np.clip(v, -1, 1)), v, (0, 0.35), (self.half * 1.28, 1.56), 2.5)
        elif style == "curly":
            fall = self.ellipse(u, v, (0, -0.22), (self.half * 1.48, 1.08)) + self.curls(0.09)
        elif style == "bun":
            fall = np.minimum(
                self.ellipse(u, v, (0, -0.12), (self.half * 1.08, 1.02)), self.ellipse(u, v, (0, -1.16), (0.34, 0.30))
            )
        else:
            fall = self.ellipse(u, v, (0, -0.20), (self.half * 1.10, 0.98), 2.3)
        self._hair(fall.astype(np.float32), 0.72, "hair behind")

    def _hair(self, shape: Plane, brightness: float, name: str) -> None:
        cover = self.inside(shape, 0.03)
        shine = np.exp(-(((np.hypot(self.u - 0.4 * self.who.light[0], self.v + 0.25) - 0.85) / 0.16) ** 2))
        tone = brightness * (1 + 0.22 * self.strands(250, 12) + 0.12 * self.strands(80, 13)) + 0.28 * shine
        if self.who.style == "curly":
            tone = tone + brightness * 0.22 * self.grain(13, 16)
        # The far side of the light is darker.
        tone = tone * (1 + 0.28 * self.who.light[0] * self.u + 0.12 * self.who.light[1] * self.v)
        self.paint(np.clip(self.hair * tone[..., None] + 0.03 * shine[..., None], 0, 1), cover)
        self.parts[name] = cover

    def body(self) -> None:
        u, v = self.u, self.v
        neck = self.ellipse(u, v, (0, 1.05), (0.36 * self.who.width, 0.75), 3)
        shoulders = np.minimum(
            self.ellipse(u, np.minimum(v, 2.35), (0, 2.35), (1.75, 1.12), 2.6),
            self.ellipse(u, v, (0, 1.75), (0.62, 0.55), 2.4),
        ).astype(np.float32)
        light = self.who.light
        collar = self.ellipse(u, v, (0, 1.12), (0.44 * self.who.width, 0.52))
        opening = self.inside(collar)
        throat = np.maximum(self.inside(neck), opening * self.inside(shoulders - 0.04))
        self.paint(self.skin * 0.80, throat)
        cover = self.inside(shoulders) * (1 - opening)
        folds = 1 + 0.06 * self.noise(7, 21) + 0.03 * self.noise(25, 22) + 0.25 * light[0] * u / 1.75
        cloth = np.array(CLOTHES[self.who.clothes], dtype=np.float32)
        self.paint(np.clip(cloth * folds[..., None], 0, 1), cover)
        self.paint(cloth * 0.72, self.inside((np.abs(collar) - 0.10).astype(np.float32)) * self.inside(shoulders))
        # The chin's shadow on the neck.
        shadow = self.ellipse(u, v, (-0.25 * light[0], 0.95), (0.62, 0.42))
        self.shade(0.62, self.inside(shadow, 0.35) * throat * 0.9)

    def head(self) -> None:
        who, u, v = self.who, self.u, self.v
        for side in (-1, 1):
            ear = self.ellipse(u - side * self.half * 1.0 + 0.10 * self.pose.turn, v, (0, 0.02), (0.13, 0.24))
            cover = self.inside(ear)
            self.paint(self.skin * 0.86, cover)
            inner = self.ellipse(u - side * self.half * 1.02 + 0.10 * self.pose.turn, v, (0, 0.02), (0.06, 0.14))
            self.paint(self.skin * np.array([0.72, 0.62, 0.60]), self.inside(inner, 0.06) * 0.7)
        # Below the cheeks the head narrows to the chin.
        narrowing = 1 - 0.34 / who.jaw * np.clip(v, 0, 1.1) ** 2.0
        shape = self.ellipse(u / narrowing, v, (0, 0), (self.half, 1.0), 2.25)
        self.cover = self.inside(shape)
        self.parts["skin"] = self.cover
        self.paint(self._skin_shaded(), self.cover)
        self._cheeks()

    def _skin_shaded(self) -> NDArray[np.float32]:
        """The skin under the light: a ball's shading, the sockets, the cheekbones, pores; (height, width, 3)."""
        light = self.who.light
        nx, ny = self.u / (self.half * 1.08), self.v / 1.12
        nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.02, 1))
        diffuse = np.clip(nx * light[0] + ny * light[1] + nz * light[2], 0, 1)
        relief = np.zeros_like(diffuse)
        for side in (-1, 1):
            socket = self.ellipse(self.fu, self.v, (side * 0.30 * self.who.eye_gap, _EYE_Y - 0.01), (0.25, 0.17))
            relief -= 0.16 * np.exp(-((socket + 1) ** 1.4))
            bone = self.ellipse(self.fu, self.v, (side * 0.40, 0.18), (0.22, 0.14))
            relief += 0.07 * np.exp(-(bone + 1)) * (1 + side * light[0])
            fold = np.abs(self.fu * side - 0.24 - 0.28 * (self.v - 0.30)) / 0.03
            relief -= 0.05 * np.exp(-(fold**2)) * np.exp(-(((self.v - 0.42) / 0.13) ** 2)) * (0.5 + self.pose.smile)
        shine = np.exp(-(((self.fu - 0.25 * light[0]) / 0.34) ** 2) - (((self.v + 0.55) / 0.22) ** 2))
        pores = 0.018 * self.grain(19, 31) + 0.02 * self.grain(5, 32)
        tone = 0.56 + 0.54 * diffuse + relief + 0.10 * shine + pores
        # Blood shows where the light fails: shadows are redder than the skin.
        warmth = np.stack([tone**0.86, tone, tone**1.10], axis=-1)
        return np.clip(self.skin * warmth, 0, 1).astype(np.float32)

    def _cheeks(self) -> None:
        for side in (-1, 1):
            cheek = np.exp(-(((self.fu - side * 0.40) / 0.17) ** 2) - (((self.v - 0.27) / 0.14) ** 2))
            self.paint(self.skin * np.array([1.0, 0.74, 0.70]), (cheek * 0.30 * self.cover).astype(np.float32))
        if self.who.freckles:
            rng = np.random.default_rng([self.who.seed, 41])
            for _ in range(46):
                at = (float(rng.normal(0, 0.27)), float(rng.normal(0.14, 0.10)))
                spot = np.exp(-(((self.fu - at[0]) ** 2 + (self.v - at[1]) ** 2) / rng.uniform(0.009, 0.016) ** 2))
                self.paint(self.skin * np.array([0.72, 0.56, 0.46]), (spot * 0.6 * self.cover).astype(np.float32))

    def eyes(self) -> None:
        who, pose = self.who, self.pose
        width, opening = 0.150 * who.eye_size, 0.078 * who.eye_size * (1 - 0.93 * pose.blink)
        whites = np.zeros_like(self.u)
        for side in (-1, 1):
            u, v = self.fu - side * 0.30 * who.eye_gap, self.v - _EYE_Y
            # An almond: two arcs that meet in the corners, the outer one a little higher.
            lift = 0.10 * u * side
            arc = np.clip(1 - (u / width) ** 2, 0, 1)
            upper, lower = opening * arc**0.75, opening * 0.72 * arc
            shape = np.maximum(np.maximum(-(v + lift) - upper, (v + lift) - lower), np.abs(u) - width)
            cover = self.inside(shape.astype(np.float32))
            whites = np.maximum(whites, cover)
            ball = 0.94 - 0.22 * (u / width) ** 2 - 0.20 * np.clip(-v / opening, 0, 1)
            self.paint(np.stack([ball, ball * 0.975, ball * 0.96], axis=-1), cover)
            self._iris(u - 0.055 * pose.gaze, v, cover, side)
            self._lids(u, v + lift, width, upper, lower)
        self.parts["eyes"] = whites

    def _iris(self, u: Plane, v: Plane, cover: Plane, side: int) -> None:
        radius = np.hypot(u, v + 0.006)
        color = np.array(EYES[self.who.eyes], dtype=np.float32)
        rays = 1 + 0.25 * np.sin(np.arctan2(v, u) * 23 + self.who.seed % 7)
        glow = np.clip(0.62 + 0.8 * (v + 0.02) / 0.075, 0.35, 1.35) * rays
        size = 0.074 * self.who.eye_size
        iris = self.inside((radius - size).astype(np.float32)) * cover
        self.paint(np.clip(color * glow[..., None], 0, 1), iris)
        self.paint(color * 0.28, self.inside((np.abs(radius - size) - 0.010).astype(np.float32), 0.015) * cover * 0.8)
        self.paint((0.02, 0.02, 0.03), self.inside((radius - size * 0.44).astype(np.float32)) * cover)
        light = self.who.light
        spark = np.hypot(u - 0.033 * np.sign(light[0] or 1), v + 0.030) - 0.017
        self.paint((1.0, 1.0, 1.0), self.inside(spark.astype(np.float32)) * cover * 0.95)

    def _lids(self, u: Plane, v: Plane, width: float, upper: Plane, lower: Plane) -> None:
        near = np.clip(1 - (np.abs(u) / (width * 1.06)) ** 6, 0, 1)
        lash = np.exp(-(((v + upper) / 0.017) ** 2)) * near
        self.paint((0.07, 0.05, 0.05), (lash * 0.95).astype(np.float32))
        crease = np.exp(-(((v + upper + 0.050) / 0.016) ** 2)) * near
        self.shade(0.66, (crease * 0.65).astype(np.float32))
        rim = np.exp(-(((v - lower - 0.004) / 0.012) ** 2)) * near
        self.shade(0.62, (rim * 0.55).astype(np.float32))
        bag = np.exp(-(((v - lower - 0.07) / 0.03) ** 2)) * near
        self.shade(0.86, (bag * 0.5).astype(np.float32))

    def brows(self) -> None:
        who = self.who
        color = self.hair * 0.75 if who.style != "bald" else np.array([0.16, 0.11, 0.09])
        color = np.minimum(color, self.skin * 0.62)
        for side in (-1, 1):
            u = (self.fu - side * 0.30 * who.eye_gap) * side  # outwards
            rise = _EYE_Y - 0.205 + 0.26 * (u - 0.02) ** 2 * 3.0 + 0.02 * u
            thick = 0.040 * who.brows * np.clip(1.05 - 2.4 * (u - 0.01) ** 2 * 6, 0.25, 1)
            shape = np.maximum(np.abs(self.v - rise) - thick, np.abs(u - 0.01) - 0.205)
            hairs = 0.84 + 0.16 * np.sin((self.fu * side * 1.4 + self.v * 2.2) * 90)
            self.paint(color, self.inside(shape.astype(np.float32), 0.035) * hairs.astype(np.float32) * 0.92)

    def nose(self) -> None:
        wide, light = self.who.nose, self.who.light
        u, v = self.fu - 0.05 * self.pose.turn, self.v
        along = np.clip((v - _EYE_Y) / (_NOSE_Y - _EYE_Y), 0, 1)
        bridge = (0.035 + 0.055 * along**2) * wide
        fade = np.exp(-(((v - 0.10) / 0.22) ** 2))
        for side in (-1, 1):
            flank = np.exp(-(((u - side * bridge * 1.25) / 0.035) ** 2)) * fade
            self.shade(1 - 0.24 * np.clip(0.45 - side * light[0], 0, 1), flank.astype(np.float32))
        self.shade(1.16, (np.exp(-((u / (bridge * 0.55)) ** 2)) * fade * 0.55).astype(np.float32))
        tip = np.exp(-((u / (0.085 * wide)) ** 2) - (((v - _NOSE_Y + 0.03) / 0.055) ** 2))
        self.shade(1.13, tip.astype(np.float32))
        under = np.exp(-((u / (0.125 * wide)) ** 2) - (((v - _NOSE_Y - 0.055) / 0.026) ** 2))
        self.shade(0.66, under.astype(np.float32))
        for side in (-1, 1):
            wing = np.exp(-(((np.hypot(u - side * 0.105 * wide, (v - _NOSE_Y) * 1.1) - 0.045) / 0.014) ** 2))
            outer = (u * side > 0.10 * wide) & (v > _NOSE_Y - 0.05)
            self.shade(0.74, (wing * outer * 0.8).astype(np.float32))
            hole = self.ellipse(u, v, (side * 0.058 * wide, _NOSE_Y + 0.030), (0.032 * wide, 0.014))
            self.paint(self.skin * 0.25, self.inside(hole, 0.02) * 0.85)

    def mouth(self) -> None:
        who, pose = self.who, self.pose
        u, v = self.fu - 0.03 * pose.turn, self.v - _MOUTH_Y
        width = 0.235 * who.mouth * (1 + 0.14 * pose.smile - 0.10 * pose.mouth_open)
        arc = np.clip(1 - (u / width) ** 2, 0, 1)
        # Smiling lifts the corners.
        v = v + 0.075 * pose.smile * (u / width) ** 2
        gap = 0.105 * pose.mouth_open * arc
        bow = 1 - 0.30 * np.exp(-((u / 0.045) ** 2))
        upper, lower = 0.058 * arc**0.8 * bow, 0.080 * arc**0.9
        color = np.clip(self.skin * np.array([0.88, 0.62, 0.60]) + np.array([0.03, 0.0, 0.01]), 0, 1)
        outline = np.maximum(np.maximum(-v - upper - gap * 0.35, v - lower - gap), np.abs(u) - width)
        cover = self.inside(outline.astype(np.float32), 0.012)
        tone = np.where(v < gap / 2, 0.80, 1.04) + 0.10 * np.exp(-(((v - gap - 0.035) / 0.018) ** 2) - (u / 0.10) ** 2)
        tone = tone + 0.04 * self.grain(24, 51)
        self.paint(np.clip(color * tone[..., None], 0, 1), cover)
        dark = np.maximum(np.maximum(-v - gap * 0.35, v - gap), np.abs(u) - width * 0.93).astype(np.float32)
        if pose.mouth_open > 0.02:
            hole = self.inside(dark)
            self.paint((0.20, 0.06, 0.06), hole)
            teeth = np.maximum(dark, v + gap * 0.35 - 0.045 * np.sqrt(arc)).astype(np.float32)
            self.paint((0.92, 0.90, 0.86), self.inside(teeth) * hole * 0.95)
        line = np.exp(-((v / 0.011) ** 2)) * (np.abs(u) < width) * (pose.mouth_open <= 0.02)
        self.shade(0.42, (line * 0.9).astype(np.float32))
        chin = np.exp(-((u / 0.17) ** 2) - (((v - lower - gap - 0.045) / 0.03) ** 2))
        self.shade(0.86, chin.astype(np.float32))
        self.parts["mouth"] = cover

    def beard(self) -> None:
        u, v = self.fu, self.v
        jaw = np.clip((v - 0.24) / 0.30, 0, 1) * np.clip((np.hypot(u / 0.62, (v - 0.24) / 0.62) - 0.42) / 0.22, 0, 1)
        moustache = np.exp(-(((v - 0.425 - 0.25 * u**2) / 0.05) ** 2)) * np.clip(1.15 - (u / 0.26) ** 4, 0, 1)
        chin = np.exp(-((u / 0.22) ** 2) - (((v - 0.84) / 0.14) ** 2))
        amount = np.clip(np.maximum(np.maximum(jaw, moustache), chin), 0, 1) * self.cover * (1 - self.parts["mouth"])
        stubble = 0.82 + 0.25 * self.grain(30, 61)
        self.paint(self.hair * 0.85 + 0.02, np.clip(amount * stubble * 0.88, 0, 1).astype(np.float32))

    def hair_before(self) -> None:
        style, u, v = self.who.style, self.u, self.v
        if style == "bald":
            return
        skull = self.ellipse(u, v, (0, -0.12), (self.half * 1.12, 1.0), 2.3)
        part = 0.22 if self.who.seed % 2 else -0.22
        lines = {
            "short": -0.60 - 0.10 * np.cos(u * 3.2) + 0.55 * np.clip(np.abs(u) - 0.52, 0, 1) * 4,
            "long": -0.72 + 0.75 * np.abs(u - part) ** 1.35 + 0.55 * np.clip(np.abs(u) - 0.58, 0, 1) * 6,
            "curly": -0.56 + self.curls(0.05) + 0.5 * np.clip(np.abs(u) - 0.56, 0, 1) * 5,
            "bun": -0.66 + 0.28 * u**2,
            "fringe": -0.36 + 0.03 * self.strands(60, 15) + 0.45 * np.clip(np.abs(u) - 0.58, 0, 1) * 6,
        }
        below = v - lines[style]
        shape = np.maximum(skull, below).astype(np.float32)
        # What hangs over the skin throws a shadow on it.
        fall = np.maximum(self.ellipse(u, v, (0, -0.12), (self.half * 1.12, 1.06), 2.3), below - 0.09).astype(
            np.float32
        )
        self.shade(0.66, self.inside(fall, 0.09) * self.cover * 0.7)
        self._hair(shape, 0.95, "hair")

    def glasses(self) -> None:
        who, metal = self.who, np.array([0.10, 0.09, 0.10])
        if who.seed % 3 == 0:
            metal = np.array([0.45, 0.30, 0.14])
        rims = np.zeros_like(self.u)
        for side in (-1, 1):
            u, v = self.fu - side * 0.30 * who.eye_gap, self.v - _EYE_Y - 0.02
            lens = self.ellipse(u, v, (0, 0), (0.225, 0.18), 2.6)
            self.paint((0.86, 0.92, 0.97), self.inside(lens) * 0.10)
            gleam = np.exp(-(((u + v * 0.7 + 0.10) / 0.03) ** 2)) * self.inside(lens)
            self.paint((1.0, 1.0, 1.0), (gleam * 0.22).astype(np.float32))
            ring = self.inside((np.abs(lens) - 0.155).astype(np.float32))
            temple = np.maximum(np.abs(v + 0.05) - 0.018, np.abs(u - side * 0.38) - 0.16)
            rims = np.maximum(rims, np.maximum(ring, self.inside(temple.astype(np.float32)) * (u * side > 0.22)))
        bridge = np.maximum(np.abs(self.v - _EYE_Y + 0.03) - 0.016, np.abs(self.fu) - 0.085)
        rims = np.maximum(rims, self.inside(bridge.astype(np.float32)))
        self.shade(0.72, np.roll(rims, max(1, round(0.03 * self.unit)), axis=0) * self.cover * 0.5)
        self.paint(metal, rims.astype(np.float32))

    def finished(self) -> Portrait:
        grain = np.random.default_rng([self.who.seed, 71]).normal(0, 0.008, self.canvas.shape).astype(np.float32)
        picture = np.clip(np.clip(self.canvas, 0, 1) ** 0.96 + grain, 0, 1)
        face = np.clip(self.cover * (1 - 0.85 * self.parts.get("hair", np.zeros_like(self.cover))), 0, 1)
        gap, mouth = 0.30 * self.who.eye_gap, 0.235 * self.who.mouth * (1 + 0.14 * self.pose.smile)
        lifted = _MOUTH_Y - 0.075 * self.pose.smile
        points = [(-gap, _EYE_Y), (gap, _EYE_Y), (0, _NOSE_Y), (-mouth, lifted), (mouth, lifted)]
        landmarks = np.array([self._on_canvas(*point) for point in points])
        corners = np.array([self._on_canvas(u, v, 0.0) for u in (-self.half, self.half) for v in (-0.92, 1.0)])
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        return Portrait(
            pixels=(picture * 255).round().astype(np.uint8),
            landmarks=landmarks,
            box=(float(left), float(top), float(right), float(bottom)),
            face=face,
            parts=dict(self.parts),
        )

    def _on_canvas(self, u: float, v: float, turned: float = 1.0) -> NDArray[np.float64]:
        """Where a point of the face lies in the picture, (x, y) in pixels."""
        bulge = np.sqrt(np.clip(1 - (u / self.half) ** 2 * 0.8 - (v / 1.05) ** 2 * 0.6, 0, 1))
        point = np.array([u + 0.30 * self.pose.turn * turned * bulge, v])
        return self._middle + self.unit * self._turn @ point


def _sampled(grid: NDArray[np.float32], x: Plane, y: Plane) -> Plane:
    """The grid (rows, columns) between its points, smoothly; x in columns, y in rows."""
    left = np.clip(x.astype(np.int64), 0, grid.shape[1] - 2)
    top = np.clip(y.astype(np.int64), 0, grid.shape[0] - 2)
    fx, fy = np.clip(x - left, 0, 1), np.clip(y - top, 0, 1)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    upper = grid[top, left] * (1 - fx) + grid[top, left + 1] * fx
    lower = grid[top + 1, left] * (1 - fx) + grid[top + 1, left + 1] * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)
