"""The made world as a data set: `shapes` (named categories with parts) and `assemblies` (for pre-training)."""

from __future__ import annotations

import numpy as np

from domains.point_cloud.data import world as shapes
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Loaded, Options, part_ids
from suite.errors import InputError

FIRST_SEED = {"train": 0, "val": 1_000_000, "test": 2_000_000}
COUNTS = {"train": 400, "val": 160, "test": 400}
"""Clouds of a split when its source names no number."""


def read(world: str, split: str, options: Options, count: int | None = None) -> CloudSet:
    """`count` shapes of a split, the categories in turn.

    Raises:
        InputError: the split or the world is unknown.
    """
    if split not in FIRST_SEED:
        raise InputError(f"the made world has no split {split!r}; choose from {', '.join(FIRST_SEED)}")
    count = COUNTS[split] if count is None else count
    if count < 1:
        raise InputError(f"{world}:{split}:{count} names no cloud; give a number above 0")
    classes = ("assembly",) if world == "assemblies" else tuple(shapes.CATEGORIES)
    if options.categories is not None and world == "shapes":
        for name in options.categories:
            if name not in shapes.CATEGORIES:
                raise InputError(f"unknown category {name!r}; choose from {', '.join(shapes.CATEGORIES)}")
        classes = options.categories
    parts = {} if world == "assemblies" else {name: shapes.CATEGORIES[name][0] for name in classes}
    first = part_ids(parts)
    labels = np.arange(count) % len(classes)
    seeds = FIRST_SEED[split] + np.arange(count) // len(classes)

    def load(number: int) -> Loaded:
        name = classes[labels[number]]
        made = shapes.make(name, int(seeds[number]), options.npoints, noise=options.noise, occluded=options.occluded)
        own = None if world == "assemblies" else made.parts + first[name][0]
        return made.points.astype(np.float32), own

    names = [f"{classes[label]} {seed}" for label, seed in zip(labels, seeds, strict=True)]
    return CloudSet(classes, labels, names, load, parts, protocol=f"made world, {split} seeds")
