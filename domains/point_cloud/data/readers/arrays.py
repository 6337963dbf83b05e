"""Arrays: NumPy's files, HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.text import from_columns
from domains.point_cloud.types import Cloud
from suite.errors import InputError

POINTS = ("points", "xyz", "pos", "coords", "coord", "data", "arr_0")
"""Names under which archives hold the coordinates; the last is NumPy's own for an array without a name."""


def read_numpy(path: Path, samples: int, seed: int) -> Cloud:
    """An array (N, 3 or more), or an archive with one under a name of `POINTS`."""
    with path.open("rb") as stream:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return array_cloud(path, loaded, {})
        arrays = {name: loaded[name] for name in loaded.files}
    return _from_arrays(path, arrays)


def _from_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Cloud:
    key = next((name for name in POINTS if name in arrays), None)
    if key is None:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path}: no array called {', '.join(POINTS[:-1])} (found: {found})")
    points = arrays[key]
    fields = {name: v for name, v in arrays.items() if name != key and v.ndim in (1, 2) and len(v) == len(points)}
    return array_cloud(path, points, fields)


def array_cloud(path: Path, array: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> Cloud:
    """An array (N, 3 or more) or a structured one with x, y and z as a cloud."""
    if array.dtype.names:
        axes = {name.lower(): name for name in array.dtype.names if name.lower() in ("x", "y", "z")}
        if len(axes) < 3:
            raise InputError(f"{path}: the structured array has no x, y and z (fields: {', '.join(array.dtype.names)})")
        rest = {name: array[name] for name in array.dtype.names if name not in axes.values()}
        return Cloud(str(path), np.stack([array[axes[axis]] for axis in "xyz"], 1), rest)
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        shape = " x ".join(map(str, array.shape))
        raise InputError(f"{path}: an N x 3 (or wider) array of numbers is needed, found {shape} of {array.dtype}")
    cloud = from_columns(path, list(array.T), None)
    return replace(cloud, fields={**cloud.fields, **fields})


def read_h5(path: Path, samples: int, seed: int) -> Cloud:
    """One cloud of an HDF5 file; files with many clouds are data sets and are read by `datasets`."""
    import h5py

    with h5py.File(path, "r") as file:
        arrays = {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}
    if arrays.get("data", np.zeros(0)).ndim == 3:
        count = len(arrays["data"])
        if count != 1:
            raise InputError(f"{path}: {count} clouds in one file; evaluate it as a data set, or give single clouds")
        arrays = {name: v[0] if v.ndim > 1 else v for name, v in arrays.items()}
    return _from_arrays(path, arrays)
