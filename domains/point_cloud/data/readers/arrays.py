"""Arrays and tables: columns of text, NumPy's files, HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.types import Cloud
from suite.errors import InputError


def read_text(path: Path, samples: int, seed: int) -> Cloud:
    """Columns of numbers, x y z first; one header line may name the columns (`x,y,z,label`)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text (byte {error.start} is not UTF-8)") from None
    rows: list[list[float]] = []
    names: list[str] | None = None
    separator: str | None = None
    for number, line in enumerate(lines, start=1):
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("//"):
            continue
        if not rows and names is None:
            separator = next((mark for mark in (",", ";") if mark in text), None)
        words = [word.strip() for word in text.split(separator)]
        try:
            values = [float(word) for word in words]
        except ValueError:
            if rows or names is not None:
                found = f"{text[:40]!r}"
                raise InputError(
                    f"{path}, line {number}: not numbers separated like the first line ({found})"
                ) from None
            names = words
            continue
        # An xyz file of chemistry and some scanners starts with the number of points alone.
        if not rows and names is None and len(values) == 1 and values[0].is_integer():
            continue
        if rows and len(values) != len(rows[0]):
            raise InputError(f"{path}, line {number}: {len(values)} columns where the first line has {len(rows[0])}")
        rows.append(values)
    if not rows:
        raise InputError(f"{path}: no line of numbers")
    return _from_columns(path, np.array(rows), names)


def _from_columns(path: Path, table: NDArray[Any], names: list[str] | None) -> Cloud:
    if table.shape[1] < 3:
        raise InputError(f"{path}: {table.shape[1]} columns, at least x y z are needed")
    names = [name.lower() for name in names] if names else []
    if names and len(names) != table.shape[1]:
        raise InputError(f"{path}: {len(names)} column names for {table.shape[1]} columns")
    if {"x", "y", "z"} <= set(names):
        order = [names.index(axis) for axis in "xyz"]
    else:
        order = [0, 1, 2]
        names = names or [*"xyz", *(f"column{index}" for index in range(3, table.shape[1]))]
    rest = {names[i]: table[:, i] for i in range(table.shape[1]) if i not in order}
    return Cloud(str(path), table[:, order], rest)


def read_numpy(path: Path, samples: int, seed: int) -> Cloud:
    """An array (N, 3 or more), or an archive with one called points, xyz, pos or data."""
    with path.open("rb") as stream:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return array_cloud(path, loaded, {})
        arrays = {name: loaded[name] for name in loaded.files}
    return _from_arrays(path, arrays)


def _from_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Cloud:
    key = next((name for name in ("points", "xyz", "pos", "data", "arr_0") if name in arrays), None)
    if key is None:
        raise InputError(f"{path}: no array called points, xyz, pos or data (found: {', '.join(arrays) or 'nothing'})")
    points = arrays[key]
    fields = {name: v for name, v in arrays.items() if name != key and v.ndim in (1, 2) and len(v) == len(points)}
    return array_cloud(path, points, fields)


def array_cloud(path: Path, array: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> Cloud:
    """An array (N, 3 or more) or a structured one with x, y and z as a cloud."""
    if array.dtype.names:
        if not {"x", "y", "z"} <= set(array.dtype.names):
            raise InputError(f"{path}: the structured array has no x, y and z (fields: {', '.join(array.dtype.names)})")
        rest = {name: array[name] for name in array.dtype.names if name not in ("x", "y", "z")}
        return Cloud(str(path), np.stack([array[axis] for axis in "xyz"], 1), rest)
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        shape = " x ".join(map(str, array.shape))
        raise InputError(f"{path}: an N x 3 (or wider) array of numbers is needed, found {shape} of {array.dtype}")
    cloud = _from_columns(path, array, None)
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
