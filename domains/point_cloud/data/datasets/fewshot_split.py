"""ModelNet few-shot: folds of `way` classes with `shot` training clouds each, as published or built from ModelNet40."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from domains.point_cloud.data.datasets import stacks, unpickling
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Options
from suite.errors import InputError

QUERIES = 20
"""Test clouds of each class of a fold."""


def spelled(path: Path) -> Path:
    """The path with `5way_10shot` or `5way10shot`, whichever exists: the authors' code and documentation differ."""
    if path.exists():
        return path
    for old, new in ((r"(\d+way)(\d+shot)", r"\1_\2"), (r"(\d+way)_(\d+shot)", r"\1\2")):
        other = Path(re.sub(old, new, str(path)))
        if other.exists():
            return other
    return path


def fits(path: Path) -> bool:
    """Whether a path is one fold's pickle."""
    return path.is_file() and path.suffix == ".pkl"


def read(path: Path, split: str, options: Options) -> CloudSet:
    """One fold; it has no validation split of its own.

    Raises:
        InputError: the file is damaged or of another kind, or `val` is asked of it.
    """
    if split == "val":
        raise InputError(f"{path}: a few-shot fold has no validation split; use data.val: null or its test split")
    loaded = unpickling.read(path)
    part = loaded.get("test" if split == "test" else "train") if isinstance(loaded, dict) else None
    if not part or not all(len(entry) == 3 and isinstance(entry[0], np.ndarray) for entry in part):
        raise InputError(f"{path}: a dict of train and test lists of (points, label, original label) was expected")
    labels = np.array([int(np.ravel(entry[1])[0]) for entry in part])
    originals = {int(np.ravel(entry[1])[0]): int(np.ravel(entry[2])[0]) for entry in part}
    classes = [f"class {originals.get(label, label)}" for label in range(int(labels.max()) + 1)]
    points = [entry[0] for entry in part]
    protocol = f"fold {path.stem} of {path.parent.name}"
    return stacks.stacked(points, labels, classes, path.name, normalise=True, protocol=protocol).only(
        options.categories
    )


def build(train: CloudSet, test: CloudSet, way: int, shot: int, fold: int, seed: int = 0) -> tuple[CloudSet, CloudSet]:
    """A fold of one's own: `shot` clouds of each of `way` classes, and 20 test clouds of each.

    Raises:
        InputError: there are fewer than `way` classes with enough clouds.
    """
    rng = np.random.default_rng([seed, way, shot, fold])
    counts = np.bincount(train.labels, minlength=len(train.classes))
    queries = np.bincount(test.labels, minlength=len(test.classes))
    able = np.flatnonzero((counts >= shot) & (queries >= QUERIES))
    if len(able) < way:
        raise InputError(f"{len(able)} classes have {shot} training and {QUERIES} test clouds, {way} are needed")
    chosen = [train.classes[label] for label in rng.permutation(able)[:way]]

    def some(clouds: CloudSet, count: int) -> CloudSet:
        own = clouds.only(chosen)
        drawn = [rng.choice(np.flatnonzero(own.labels == label), count, replace=False) for label in range(way)]
        return own.take(np.concatenate(drawn), f"{way}-way {shot}-shot, fold {fold}, seed {seed}")

    return some(train, shot), some(test, QUERIES)


def summary(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean and SAMPLE standard deviation over folds (the released scripts leave the choice to their users)."""
    return statistics.mean(accuracies), statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
