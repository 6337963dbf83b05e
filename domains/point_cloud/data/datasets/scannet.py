"""ScanNet (arXiv 1702.04405): scanned rooms as meshes, `scans/<scene>/<scene>_vh_clean_2.ply` and `..labels.ply`.

The points are the meshes' vertices. The official lists `scannetv2_train.txt`, `_val.txt` and `_test.txt` say which
scene is of which split; they lie in the folder itself or in one called `splits`. The test labels are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from domains.point_cloud.data import blocks
from domains.point_cloud.data.channels import values_of
from domains.point_cloud.data.datasets import scenes
from domains.point_cloud.data.datasets.cloud_set import NO_PART, CloudSet, Options
from domains.point_cloud.data.readers.scans import read_vertices
from suite.errors import InputError

MESH, LABELS = "_vh_clean_2.ply", "_vh_clean_2.labels.ply"

CLASSES = {
    "wall": 1, "floor": 2, "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8, "window": 9,
    "bookshelf": 10, "picture": 11, "counter": 12, "desk": 14, "curtain": 16, "refrigerator": 24,
    "shower curtain": 28, "toilet": 33, "sink": 34, "bathtub": 36, "otherfurniture": 39,
}  # fmt: skip
"""The benchmark's 20 classes by their numbers among NYU's 40, which the files hold; the others count nowhere."""

_NUMBERS = np.full(1 << 16, NO_PART, dtype=np.int64)
_NUMBERS[list(CLASSES.values())] = np.arange(len(CLASSES))


def fits(path: Path) -> bool:
    """Whether a folder holds scenes."""
    return path.is_dir() and bool(_scenes(path))


def read(path: Path, split: str, options: Options) -> CloudSet:
    """Blocks of the scenes of a split.

    Raises:
        InputError: a list or a scene is missing, or the scenes have no labels.
    """
    known = _scenes(path)
    wanted = [name for part in ("train", "val") for name in _listed(path, part)] if split == "trainval" else None
    wanted = _listed(path, split) if wanted is None else wanted
    missing = [name for name in wanted if name not in known]
    if missing and len(missing) == len(wanted):
        raise InputError(f"{path}: none of the {len(wanted)} scenes of the split {split}, e.g. {missing[0]}")
    files = [known[name] for name in wanted if name in known]
    bare = next((file for file in files if not _labels(file).is_file()), None)
    if bare is not None:
        hint = "; the test labels are not public, score PATH:val" if split == "test" else ""
        raise InputError(f"{_labels(bare)}: no such file{hint}")
    lack = f", {len(missing)} of {len(wanted)} scenes are not here" if missing else ""
    side = options.block or blocks.SIDE
    protocol = f"the official lists{lack}"
    load = partial(_scene, inputs=options.inputs)
    return scenes.cut(files, load, path, classes=tuple(CLASSES), side=side, protocol=protocol)


def _scenes(path: Path) -> dict[str, Path]:
    """Meshes by the name of their scene."""
    roots = (path, path / "scans", path / "scans_test")
    files = [file for root in roots for file in sorted(root.glob(f"scene*/scene*{MESH}"))]
    return {file.name.removesuffix(MESH): file for file in files}


def _listed(path: Path, split: str) -> list[str]:
    name = f"scannetv2_{split}.txt"
    file = next((folder / name for folder in (path, path / "splits") if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{path}: no {name}; put the official lists of ScanNet's splits there")
    return file.read_text(encoding="utf-8").split()


def _labels(mesh: Path) -> Path:
    return mesh.with_name(mesh.name.replace(MESH, LABELS))


def _scene(mesh: Path, inputs: Sequence[str]) -> scenes.Scene:
    points, colours = read_vertices(mesh)
    labelled, fields = read_vertices(_labels(mesh))
    if "label" not in fields or len(labelled) != len(points):
        raise InputError(f"{_labels(mesh)}: a label for each of the mesh's {len(points)} vertices was expected")
    labels = _NUMBERS[fields["label"].astype(np.int64)]
    return (np.concatenate([points, values_of(colours, inputs, "z")], 1) if inputs else points), labels
