"""Clouds of one size stacked in an array, as HDF5 files and caches hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.datasets.cloud_set import CloudSet, Loaded, Options
from suite.errors import InputError


def read_h5(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points (S, N, 3) and labels (S,) of a file with the arrays `data` and `label`.

    Raises:
        InputError: the file is damaged, lacks an array, or its arrays do not match.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("data", "label") if name not in file]
            if missing:
                raise InputError(f"{path}: no array {' and '.join(missing)} (found: {', '.join(file) or 'nothing'})")
            points, labels = file["data"][()], file["label"][()]
    except OSError as error:
        raise InputError(f"{path}: damaged or not .h5 at all ({error})") from error
    labels = labels.reshape(-1)
    if points.ndim != 3 or points.shape[2] < 3:
        raise InputError(f"{path}: data must be clouds x points x 3, found {' x '.join(map(str, points.shape))}")
    if len(points) != len(labels):
        raise InputError(f"{path}: {len(points)} clouds and {len(labels)} labels; the file is damaged")
    return points[:, :, :3].astype(np.float32), labels.astype(np.int64)


def stacked(
    points: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    where: str,
    *,
    normalise: bool,
    protocol: str,
) -> CloudSet:
    """A set of clouds that are in memory already."""

    def load(number: int) -> Loaded:
        return np.asarray(points[number][:, :3], dtype=np.float32), None

    names = [f"{where}[{number}]" for number in range(len(labels))]
    return CloudSet(tuple(classes), labels, names, load, normalise=normalise, protocol=protocol)


def is_h5(path: Path) -> bool:
    """Whether a path is one HDF5 file."""
    return path.is_file() and path.suffix.lower() in (".h5", ".hdf5")


def read_single(path: Path, split: str, options: Options) -> CloudSet:
    """One HDF5 file of labelled clouds is whatever split is asked of it; classes are numbered unless a list is near.

    `shape_names.txt` beside the file names the classes.
    """
    points, labels = read_h5(path)
    listed = path.with_name("shape_names.txt")
    names = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    classes = names or [f"class {number}" for number in range(int(labels.max(initial=0)) + 1)]
    found = stacked(points, labels, classes, path.name, normalise=True, protocol=f"all of {path.name}")
    return found.only(options.categories)
