"""Point clouds and meshes from files, read into `Cloud`; broken files are refused by name and reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.arrays import array_cloud
from domains.point_cloud.data.readers.formats import READERS
from domains.point_cloud.types import SAMPLES, Cloud
from suite.errors import InputError, first_line


def read(path: str | Path, *, samples: int = SAMPLES, seed: int = 0, strict: bool = False, up: str = "y") -> Cloud:
    """Read one file of any supported format.

    Args:
        samples: points to draw from a mesh's surface, by area. seed: of that drawing.
        strict: refuse points with NaN or infinite coordinates instead of dropping them with a note.
        up: `y` as the models were trained, or `z`: the cloud is turned so that its z axis becomes y.

    Raises:
        InputError: the file is missing, empty, damaged, or of no supported format; one line says which and why.
    """
    return usable(raw(path, samples=samples, seed=seed), strict=strict, up=up)


def raw(path: str | Path, *, samples: int = SAMPLES, seed: int = 0) -> Cloud:
    """Read one file as it is: every point in its place, also those without one.

    Raises:
        InputError: as for `read`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: the folder holds no cloud ({' '.join(READERS)})")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown format {path.suffix or 'without ending'!r}; known are {' '.join(READERS)}")
    try:
        return reader(path, samples, seed)
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # The readers of half a dozen libraries raise whatever their parser met, panics of Rust code among it, which are no
    # `Exception`; to the user each means one thing.
    except BaseException as error:
        raise InputError(f"{path}: damaged or not {path.suffix} at all ({first_line(error)})") from error


def usable(cloud: Cloud, *, strict: bool = False, up: str = "y") -> Cloud:
    """The points of a raw cloud that have a place, y up.

    Raises:
        InputError: there are none, `strict` and one has no place, or the axis is unknown.
    """
    if up not in ("y", "z"):
        raise InputError(f"up axis {up!r}: choose y or z")
    return _turned(_checked(cloud, strict), up)


def from_array(array: NDArray[Any], source: str) -> Cloud:
    """A raw cloud from an array (N, 3 or more): x y z first, further columns become its fields.

    Raises:
        InputError: the array is of another shape or no array of numbers.
    """
    return array_cloud(Path(source), np.asarray(array), {})


def _checked(cloud: Cloud, strict: bool) -> Cloud:
    points = np.asarray(cloud.points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{cloud.source}: points must be N x 3, found {' x '.join(map(str, points.shape))}")
    if len(points) == 0:
        raise InputError(f"{cloud.source}: the cloud has 0 points")
    finite = np.isfinite(points).all(1)
    if finite.all():
        return replace(cloud, points=points)
    count = int((~finite).sum())
    if strict or not finite.any():
        raise InputError(f"{cloud.source}: {count} of {len(points)} points have NaN or infinite coordinates")
    fields = {name: values[finite] for name, values in cloud.fields.items()}
    notes = (*cloud.notes, f"{count} points with NaN or infinite coordinates dropped")
    return replace(cloud, points=points[finite], fields=fields, notes=notes)


def _turned(cloud: Cloud, up: str) -> Cloud:
    if up == "y":
        return cloud
    return replace(cloud, points=cloud.points[:, [1, 2, 0]])
