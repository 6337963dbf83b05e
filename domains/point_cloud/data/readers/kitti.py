"""Sweeps of KITTI's laser scanner, and SemanticKITTI's labels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.point_cloud.types import Cloud
from suite.errors import InputError


def labels_beside(sweep: Path) -> Path | None:
    """`labels/<n>.label` of `velodyne/<n>.bin`, where there is one."""
    file = sweep.parent.parent / "labels" / f"{sweep.stem}.label"
    return file if sweep.parent.name == "velodyne" and file.is_file() else None


def read_kitti(path: Path, samples: int, seed: int) -> Cloud:
    """A sweep: x y z intensity, four little-endian float32 a point; `semantic` and `instance` from its labels' file.

    A label is 32 bits: the class in the lower half, the number of the object in the upper one.
    """
    size = path.stat().st_size
    if size % 16:
        raise InputError(f"{path}: {size} bytes are no rows of x y z intensity in float32; is this a KITTI scan?")
    table = np.fromfile(path, dtype="<f4").reshape(-1, 4)
    fields: dict[str, np.ndarray] = {"intensity": table[:, 3].copy()}
    file = labels_beside(path)
    if file is not None:
        if file.stat().st_size != 4 * len(table):
            raise InputError(
                f"{file}: {file.stat().st_size} bytes are no 4 for each of the sweep's {len(table)} points"
            )
        labels = np.fromfile(file, dtype="<u4")
        fields |= {"semantic": labels & 0xFFFF, "instance": labels >> 16}
    return Cloud(str(path), table[:, :3], fields)
