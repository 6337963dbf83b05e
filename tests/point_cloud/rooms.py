"""Made rooms in the layout of S3DIS's prepared arrays: floor, ceiling, walls, bookcases, tables, chairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data import world
from domains.point_cloud.data.datasets.s3dis import CLASSES

DENSITY = 300
"""Points a square metre of surface, about what is left of S3DIS where a room is thinned to 100,000 points."""

Piece = tuple[str, world.Solid]


def room(seed: int, density: float = DENSITY, noise: float = 0.005) -> NDArray[np.float32]:
    """Rows x y z r g b label, z up, in metres; (n, 7). Colours are noise: they tell nothing of the class."""
    rng = np.random.default_rng(seed)
    pieces = list(_pieces(rng))
    drawn = [solid.draw(rng, max(1, rng.poisson(density * solid.area))) for _, solid in pieces]
    labels = np.repeat([CLASSES.index(name) for name, _ in pieces], [len(points) for points in drawn])
    points = np.concatenate(drawn)[:, [0, 2, 1]]  # solids stand on y, rooms of S3DIS on z
    points = points + rng.normal(scale=noise, size=points.shape) + rng.uniform(-20, 20, 3)
    table = np.column_stack([points, rng.uniform(0, 255, points.shape), labels])
    return rng.permutation(table).astype(np.float32)


def write(folder: Path, rooms: dict[int, int], density: float = DENSITY) -> Path:
    """`rooms[area]` rooms of each area as `Area_<area>_room_<n>.npy`; area 5 is the test split."""
    folder.mkdir(parents=True, exist_ok=True)
    for area, count in rooms.items():
        for number in range(count):
            np.save(folder / f"Area_{area}_room_{number}.npy", room(1000 * area + number, density))
    return folder


def _pieces(rng: np.random.Generator) -> Iterator[Piece]:
    width, depth, height = *rng.uniform(3, 6, 2), rng.uniform(2.5, 3.2)
    plane = world.box(width, 1e-3, depth)
    # A box of no thickness has both faces: one of them is what a scanner sees.
    yield "floor", _half(plane.moved((width / 2, 0, depth / 2)))
    yield "ceiling", _half(plane.moved((width / 2, height, depth / 2)))
    along, across = world.box(width, height, 1e-3), world.box(1e-3, height, depth)
    for z in (0, depth):
        yield "wall", _half(along.moved((width / 2, height / 2, z)))
    for x in (0, width):
        yield "wall", _half(across.moved((x, height / 2, depth / 2)))
    shelf = rng.uniform(0.7, 1.2), rng.uniform(1.6, 2.1), rng.uniform(0.3, 0.4)
    yield "bookcase", world.box(*shelf).moved((width - shelf[0] / 2 - 0.1, shelf[1] / 2, depth - 0.35))
    for _ in range(rng.integers(1, 4)):
        yield from _desk(rng, rng.uniform(1.0, width - 1.0), rng.uniform(1.0, depth - 1.0))


def _desk(rng: np.random.Generator, x: float, z: float) -> Iterator[Piece]:
    """A table with a chair beside it."""
    top = rng.uniform(0.68, 0.78)
    yield "table", world.box(rng.uniform(1.0, 1.5), 0.04, rng.uniform(0.6, 0.8)).moved((x, top, z))
    for side in (-0.45, 0.45):
        yield "table", world.box(0.05, top, 0.5).moved((x + side, top / 2, z))
    seat = rng.uniform(0.42, 0.48)
    beside = z + 0.6 if rng.random() < 0.5 else z - 0.6
    yield "chair", world.box(0.42, 0.06, 0.42).moved((x, seat, beside))
    yield "chair", world.box(0.42, 0.45, 0.04).moved((x, seat + 0.3, beside + np.sign(beside - z) * 0.2))
    for dx in (-0.18, 0.18):
        for dz in (-0.18, 0.18):
            yield "chair", world.box(0.03, seat, 0.03).moved((x + dx, seat / 2, beside + dz))


def _half(solid: world.Solid) -> world.Solid:
    return world.Solid(solid.area / 2, solid.draw)
