"""SemanticKITTI (arXiv 1904.01416): sweeps of a scanner on a car, `sequences/<nn>/velodyne/*.bin` and `labels/*.label`.

Sequence 8 is the validation split, 11 to 21 are the test split, whose labels are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from domains.point_cloud.data.channels import values_of
from domains.point_cloud.data.datasets import scenes
from domains.point_cloud.data.datasets.cloud_set import NO_PART, CloudSet, Options
from domains.point_cloud.data.readers.kitti import labels_beside, read_kitti
from suite.errors import InputError

SIDE = 10.0
"""Metres of a block's side: a sweep has too few points for the narrow columns of rooms."""

VALIDATION, TEST = frozenset({8}), frozenset(range(11, 22))
TRAINING = frozenset(range(11)) - VALIDATION
SPLITS = {"train": TRAINING, "val": VALIDATION, "trainval": TRAINING | VALIDATION, "test": TEST}

CLASSES = {
    "car": (10, 252), "bicycle": (11,), "motorcycle": (15,), "truck": (18, 258),
    "other-vehicle": (13, 16, 20, 256, 257, 259), "person": (30, 254), "bicyclist": (31, 253),
    "motorcyclist": (32, 255), "road": (40, 60), "parking": (44,), "sidewalk": (48,), "other-ground": (49,),
    "building": (50,), "fence": (51,), "vegetation": (70,), "trunk": (71,), "terrain": (72,), "pole": (80,),
    "traffic-sign": (81,),
}  # fmt: skip
"""The 19 classes of the single-scan benchmark, and the labels that each gathers; the others count nowhere."""

_NUMBERS = np.full(1 << 16, NO_PART, dtype=np.int64)
for _number, _own in enumerate(CLASSES.values()):
    _NUMBERS[list(_own)] = _number


def fits(path: Path) -> bool:
    """Whether a folder holds sequences of sweeps."""
    return path.is_dir() and bool(_sequences(path))


def read(path: Path, split: str, options: Options) -> CloudSet:
    """Blocks of the sweeps of a split.

    Raises:
        InputError: the split has no sequence here, or sweeps without labels.
    """
    wanted = SPLITS[split]
    found = [folder for folder in _sequences(path) if int(folder.name) in wanted]
    if not found:
        numbers = ", ".join(f"{number:02}" for number in sorted(wanted))
        raise InputError(f"{path}: no sequence of the split {split} ({numbers}); use another split")
    sweeps = [sweep for folder in found for sweep in sorted((folder / "velodyne").glob("*.bin"))]
    lacking = next((sweep for sweep in sweeps if labels_beside(sweep) is None), None)
    if lacking is not None:
        hint = "; the test split's labels are not public, score PATH:val" if split == "test" else ""
        raise InputError(f"{lacking}: no labels/{lacking.stem}.label beside velodyne/{hint}")
    return scenes.cut(
        sweeps,
        partial(_sweep, inputs=options.inputs),
        path,
        classes=tuple(CLASSES),
        side=options.block or SIDE,
        protocol="sequence 8 validates, 11 to 21 test",
    )


def _sequences(path: Path) -> list[Path]:
    for root in (path, path / "sequences", path / "dataset" / "sequences"):
        found = sorted(one for one in root.glob("[0-9][0-9]") if (one / "velodyne").is_dir())
        if found:
            return found
    return []


def _sweep(file: Path, inputs: Sequence[str]) -> scenes.Scene:
    cloud = read_kitti(file, 0, 0)
    labels = _NUMBERS[cloud.fields["semantic"]]
    if not inputs:
        return cloud.points, labels
    return np.concatenate([cloud.points, values_of(cloud.fields, inputs, "z")], 1), labels
