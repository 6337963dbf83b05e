"""Clouds, and files of them as scanners and other programs write them."""

from __future__ import annotations

import laspy
import numpy as np

from domains.point_cloud.data import world


def shape(name: str = "mug", count: int = 600) -> np.ndarray:
    return world.make(name, 2_000_000, count).points


def write_las(path, points, **fields):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.header.scales = [1e-6] * 3
    las.x, las.y, las.z = points.T
    for name, values in fields.items():
        if name not in las.point_format.dimension_names:
            las.add_extra_dim(laspy.ExtraBytesParams(name, np.int32))
        las[name] = values
    las.write(str(path))
    return path
