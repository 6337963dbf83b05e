"""Scans: PLY by plyfile, LAS and LAZ by laspy."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.meshes import MAX_POINTS, read_mesh
from domains.point_cloud.types import Cloud
from suite.errors import InputError


def read_ply(path: Path, samples: int, seed: int) -> Cloud:
    """A cloud, or points of a mesh where the file has faces; its vertices where no point is to be drawn."""
    points, fields, faces = _ply(path)
    if faces and samples:
        return read_mesh(path, samples, seed, fields)
    return Cloud(str(path), points, fields, notes=("no point is drawn: its vertices are the cloud",) if faces else ())


def read_vertices(path: Path) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """The vertices (N, 3) of a PLY file and their fields, whether it has faces or not."""
    return _ply(path)[:2]


def _ply(path: Path) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]], bool]:
    """Vertices, their fields, and whether there are faces."""
    import plyfile

    with path.open("rb") as stream:
        header = plyfile.PlyData._parse_header(stream)
    for element in header.elements:
        if element.count > MAX_POINTS:
            raise InputError(f"{path}: the header announces {element.count} of {element.name}; the file is damaged")
    try:
        data = plyfile.PlyData.read(str(path), mmap=False)
    except plyfile.PlyElementParseError as error:
        raise InputError(f"{path}: truncated or damaged body ({error})") from error
    names = (data["vertex"].data.dtype.names or ()) if "vertex" in data else ()
    axes = {name.lower(): name for name in names if name.lower() in ("x", "y", "z")}
    if len(axes) < 3:
        raise InputError(f"{path}: the PLY has no vertex element with x, y and z")
    vertex = data["vertex"].data
    fields = {name: np.array(vertex[name]) for name in names if name not in axes.values()}
    points = np.stack([vertex[axes[axis]] for axis in "xyz"], 1).astype(np.float64, copy=False)
    return points, fields, "face" in data and len(data["face"].data) > 0


def read_las(path: Path, samples: int, seed: int) -> Cloud:
    """A laser scan, in the units of its coordinate system."""
    import laspy

    _check_las(path)
    with laspy.open(str(path)) as reader:
        if reader.header.point_count > MAX_POINTS:
            raise InputError(f"{path}: the header announces {reader.header.point_count} points; the file is damaged")
        if not np.all(reader.header.scales > 0):
            raise InputError(f"{path}: the LAS header has no scale for its integer coordinates")
        announced = reader.header.point_count
        las = reader.read()
    if len(las.points) != announced:
        raise InputError(f"{path}: truncated: {announced} points announced, {len(las.points)} read")
    names = [name for name in las.point_format.dimension_names if name not in ("X", "Y", "Z")]
    return Cloud(str(path), np.asarray(las.xyz), {name: np.asarray(las[name]) for name in names})


def _check_las(path: Path) -> None:
    """What the header announces must fit into the file; laspy believes any number and reads on past the end.

    Places of the fields: ASPRS LAS 1.4-R15, table 3. Records take at least 54 bytes, extended ones 60.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = stream.read(375)
    if len(header) < 227 or header[:4] != b"LASF":
        raise InputError(f"{path}: damaged or not {path.suffix} at all (no LAS header)")
    minor, kind = header[25], header[104]
    (records,) = struct.unpack_from("<I", header, 100)
    if records * 54 > size:
        raise InputError(f"{path}: the header announces {records} records in a file of {size} bytes; it is damaged")
    start, length, count = (
        *struct.unpack_from("<I", header, 96),
        *struct.unpack_from("<H", header, 105),
        *struct.unpack_from("<I", header, 107),
    )
    if minor >= 4 and len(header) == 375:
        (extended,) = struct.unpack_from("<I", header, 243)
        if extended * 60 > size:
            raise InputError(
                f"{path}: the header announces {extended} extended records in a file of {size} bytes; it is damaged"
            )
        (count,) = struct.unpack_from("<Q", header, 247)
    if count > MAX_POINTS:
        raise InputError(f"{path}: the header announces {count} points; the file is damaged")
    if not kind & 0x80 and start + count * length > size:  # the high bit says LAZ
        present = max(0, size - start) // max(1, length)
        raise InputError(f"{path}: truncated: {count} points announced, {present} follow")
