"""A made world of shapes: parametrised solids put together from parts, each point knowing its part.

Two sets of families: random assemblies of solids, which pre-training sees, and named categories (tables, mugs,
lamps …), which only the downstream tasks see. Everything follows from a seed.

Coordinates are y-up like the benchmarks the published models were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """A sampled shape: points (N, 3) in the unit sphere and the part (N,) of each, from 0 within its category."""

    category: str
    points: Array
    parts: NDArray[np.int64]


@dataclass(frozen=True)
class Solid:
    """A surface to sample: its area and a function from a generator and a count to points on it."""

    area: float
    draw: Callable[[np.random.Generator, int], Array]

    def moved(self, offset: tuple[float, float, float], turn: Array | None = None) -> Solid:
        """The solid turned by the rotation matrix `turn`, then shifted."""
        rotation = np.eye(3) if turn is None else turn
        return Solid(self.area, lambda rng, count: self.draw(rng, count) @ rotation.T + np.asarray(offset))


def box(width: float, height: float, depth: float) -> Solid:
    """The surface of a cuboid around the origin (x, y, z sizes)."""
    size = np.array([width, height, depth])
    faces = np.array([height * depth, width * depth, width * height]).repeat(2)

    def draw(rng: np.random.Generator, count: int) -> Array:
        points = rng.uniform(-0.5, 0.5, (count, 3))
        face = rng.choice(6, count, p=faces / faces.sum())
        points[np.arange(count), face // 2] = np.where(face % 2, 0.5, -0.5)
        return points * size

    return Solid(float(faces.sum()), draw)


def frustum(bottom: float, top: float, height: float, caps: str = "both") -> Solid:
    """A cone frustum around the y axis, from y = 0 to `height`; `caps`: both, bottom or none."""
    slant = np.hypot(bottom - top, height)
    areas = np.array(
        [
            np.pi * (bottom + top) * slant,
            np.pi * bottom**2 if caps in ("both", "bottom") else 0.0,
            np.pi * top**2 if caps == "both" else 0.0,
        ]
    )

    def draw(rng: np.random.Generator, count: int) -> Array:
        face = rng.choice(3, count, p=areas / areas.sum())
        angle, share = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 1, count)
        # The density along the side grows with the radius, so the height is drawn through its inverse.
        if abs(top - bottom) > 1e-9:
            along = (np.sqrt(bottom**2 + share * (top**2 - bottom**2)) - bottom) / (top - bottom)
        else:
            along = share
        radius = np.select(
            [face == 0, face == 1], [bottom + along * (top - bottom), bottom * np.sqrt(share)], top * np.sqrt(share)
        )
        y = np.select([face == 0, face == 1], [along * height, 0.0], height)
        return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], 1)

    return Solid(float(areas.sum()), draw)


def ellipsoid(x: float, y: float, z: float) -> Solid:
    """An ellipsoid around the origin with half-axes x, y, z."""
    p = 1.6075  # Knud Thomsen's exponent: the area is right within 1.1 %
    area = 4 * np.pi * (((x * y) ** p + (x * z) ** p + (y * z) ** p) / 3) ** (1 / p)

    def draw(rng: np.random.Generator, count: int) -> Array:
        directions = rng.normal(size=(count, 3))
        return directions / np.linalg.norm(directions, axis=1, keepdims=True) * np.array([x, y, z])

    return Solid(float(area), draw)


def torus(major: float, minor: float, arc: float = 2 * np.pi) -> Solid:
    """A torus (or the arc of one) in the x-y plane around the origin."""

    def draw(rng: np.random.Generator, count: int) -> Array:
        along, around = rng.uniform(-arc / 2, arc / 2, count), rng.uniform(0, 2 * np.pi, count)
        radius = major + minor * np.cos(around)
        return np.stack([radius * np.cos(along), radius * np.sin(along), minor * np.sin(around)], 1)

    return Solid(float(arc * major * 2 * np.pi * minor), draw)


def turn(axis: int, angle: float) -> Array:
    """The rotation matrix about the coordinate axis `axis` by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    first, second = [i for i in range(3) if i != axis]
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix


Parts = list[tuple[int, Solid]]
"""An assembly: the part number of each solid."""


def _legs(rng: np.random.Generator, width: float, depth: float, height: float, part: int) -> Parts:
    thick, splay = rng.uniform(0.03, 0.07), rng.uniform(0.75, 0.95)
    leg = frustum(thick, thick * rng.uniform(0.6, 1.0), height)
    return [(part, leg.moved((sx * splay * width / 2, 0, sz * splay * depth / 2))) for sx in (-1, 1) for sz in (-1, 1)]


def _column(rng: np.random.Generator, height: float, part: int, base_part: int) -> Parts:
    base = frustum(rng.uniform(0.25, 0.4), rng.uniform(0.15, 0.25), rng.uniform(0.03, 0.08))
    pole = frustum(rng.uniform(0.03, 0.07), rng.uniform(0.03, 0.06), height)
    return [(base_part, base), (part, pole)]


def _table(rng: np.random.Generator) -> Parts:
    width, depth, height = rng.uniform(0.8, 1.6), rng.uniform(0.6, 1.0), rng.uniform(0.5, 0.9)
    top = box(width, rng.uniform(0.04, 0.1), depth).moved((0, height, 0))
    return [(0, top), *_legs(rng, width, depth, height, 1)]


def _round_table(rng: np.random.Generator) -> Parts:
    height, radius = rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.7)
    top = frustum(radius, radius, rng.uniform(0.03, 0.08)).moved((0, height, 0))
    return [(0, top), *_column(rng, height, 1, 2)]


def _chair(rng: np.random.Generator) -> Parts:
    width, height = rng.uniform(0.45, 0.65), rng.uniform(0.4, 0.55)
    rise, thick = rng.uniform(0.4, 0.7), rng.uniform(0.04, 0.08)
    seat = box(width, thick, width).moved((0, height, 0))
    lean = turn(0, -rng.uniform(0.0, 0.25))
    back = box(width, rise, thick).moved((0, height + rise / 2, -width / 2), lean)
    return [(0, seat), *_legs(rng, width, width, height, 1), (2, back)]


def _stool(rng: np.random.Generator) -> Parts:
    width, height = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.8)
    seat = frustum(width / 2, width / 2, rng.uniform(0.05, 0.12)).moved((0, height, 0))
    return [(0, seat), *_legs(rng, width * 0.8, width * 0.8, height, 1)]


def _mug(rng: np.random.Generator) -> Parts:
    radius, height = rng.uniform(0.3, 0.45), rng.uniform(0.6, 0.95)
    body = frustum(radius * rng.uniform(0.85, 1.0), radius, height, caps="bottom")
    handle = torus(height * rng.uniform(0.22, 0.3), rng.uniform(0.03, 0.06), arc=np.pi * 1.1)
    return [(0, body), (1, handle.moved((radius * 0.95, height / 2, 0)))]


def _bucket(rng: np.random.Generator) -> Parts:
    radius, height = rng.uniform(0.3, 0.45), rng.uniform(0.6, 0.95)
    body = frustum(radius * rng.uniform(0.7, 0.9), radius, height, caps="bottom")
    handle = torus(radius, rng.uniform(0.02, 0.04), arc=np.pi).moved((0, height, 0), turn(2, np.pi / 2))
    return [(0, body), (1, handle)]


def _lamp(rng: np.random.Generator) -> Parts:
    height = rng.uniform(0.7, 1.2)
    shade = frustum(rng.uniform(0.3, 0.5), rng.uniform(0.12, 0.25), rng.uniform(0.25, 0.4), caps="none")
    return [*_column(rng, height, 1, 2), (0, shade.moved((0, height - 0.1, 0)))]


def _plane(rng: np.random.Generator) -> Parts:
    length, radius, span = rng.uniform(1.2, 1.6), rng.uniform(0.08, 0.14), rng.uniform(1.0, 1.6)
    chord, thick = rng.uniform(0.2, 0.35), 0.03
    body = ellipsoid(length / 2, radius, radius)
    wings = box(chord, thick, span).moved((rng.uniform(-0.05, 0.15), 0, 0))
    tail = box(chord * 0.5, thick, span * 0.35).moved((-length * 0.45, 0, 0))
    fin = box(chord * 0.5, rng.uniform(0.18, 0.3), thick).moved((-length * 0.45, 0.12, 0))
    return [(0, body), (1, wings), (2, tail), (2, fin)]


CATEGORIES: Mapping[str, tuple[tuple[str, ...], Callable[[np.random.Generator], Parts]]] = {
    "bucket": (("body", "handle"), _bucket),
    "chair": (("seat", "legs", "back"), _chair),
    "lamp": (("shade", "pole", "base"), _lamp),
    "mug": (("body", "handle"), _mug),
    "plane": (("body", "wings", "tail"), _plane),
    "round table": (("top", "pole", "base"), _round_table),
    "stool": (("seat", "legs"), _stool),
    "table": (("top", "legs"), _table),
}
"""The downstream categories with the names of their parts; pre-training never sees them."""


def _random_assembly(rng: np.random.Generator) -> Parts:
    """Two to five random solids, each set on or beside the ones before it."""
    parts: Parts = []
    for number in range(rng.integers(2, 6)):
        kind = rng.integers(4)
        a, b, c = rng.uniform(0.1, 0.8, 3)
        if kind == 0:
            solid = box(a, b, c)
        elif kind == 1:
            solid = frustum(a / 2, b / 2, c, caps=("both", "bottom", "none")[rng.integers(3)])
        elif kind == 2:
            solid = ellipsoid(a / 2, b / 2, c / 2)
        else:
            solid = torus(a, 0.05 + 0.1 * b, arc=rng.uniform(np.pi / 2, 2 * np.pi))
        rotation = turn(int(rng.integers(3)), rng.uniform(0, np.pi)) if rng.random() < 0.5 else None
        parts.append((number, solid.moved(tuple(rng.uniform(-0.5, 0.5, 3)), rotation)))
    return parts


def make(category: str, seed: int, points: int = 1024, *, noise: float = 0.01, occluded: float = 0.3) -> Shape:
    """One shape of a category (or `assembly`, the pre-training family), turned about y, noisy and partly hidden.

    Args:
        noise: standard deviation of the noise, as a share of the shape's radius.
        occluded: the largest share of the surface that is hidden from a random side, at most a half.

    Raises:
        InputError: the category is unknown, or a setting out of range.
    """
    if not (0 <= occluded <= 0.5 and noise >= 0):
        raise InputError(f"occluded {occluded} and noise {noise}: give 0 to 0.5, and 0 or more")
    if category != "assembly" and category not in CATEGORIES:
        raise InputError(f"unknown category {category!r}; choose from {', '.join(CATEGORIES)} or assembly")
    rng = np.random.default_rng([seed, *category.encode()])
    parts = _random_assembly(rng) if category == "assembly" else CATEGORIES[category][1](rng)
    areas = np.array([solid.area for _, solid in parts])
    counts = rng.multinomial(2 * points, areas / areas.sum())
    drawn = np.concatenate([solid.draw(rng, count) for (_, solid), count in zip(parts, counts, strict=True)])
    labels = np.concatenate([np.full(count, part) for (part, _), count in zip(parts, counts, strict=True)])
    drawn = drawn @ turn(1, rng.uniform(0, 2 * np.pi)).T
    drawn = (drawn - drawn.mean(0)) / np.linalg.norm(drawn - drawn.mean(0), axis=1).max()
    drawn += rng.normal(scale=noise, size=drawn.shape)
    # A scan sees one side: points farthest along a random direction are the hidden ones.
    direction = rng.normal(size=3)
    visible = np.argsort(drawn @ direction)[: int(len(drawn) * (1 - rng.uniform(0, occluded)))]
    kept = rng.choice(visible, points, replace=False)
    cloud = drawn[kept] - drawn[kept].mean(0)
    return Shape(category, cloud / np.linalg.norm(cloud, axis=1).max(), labels[kept])
