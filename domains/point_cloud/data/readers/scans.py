"""Scans: PLY by plyfile, PCD by Open3D, LAS and LAZ by laspy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.point_cloud.data.readers.meshes import MAX_POINTS, read_mesh
from domains.point_cloud.types import Cloud
from suite.errors import InputError


def read_ply(path: Path, samples: int, seed: int) -> Cloud:
    """A cloud, or points of a mesh where the file has faces."""
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
    if "vertex" not in data or not {"x", "y", "z"} <= set(data["vertex"].data.dtype.names or ()):
        raise InputError(f"{path}: the PLY has no vertex element with x, y and z")
    if "face" in data and len(data["face"].data):
        return read_mesh(path, samples, seed)
    vertex = data["vertex"].data
    points = np.stack([vertex[axis] for axis in "xyz"], 1)
    return Cloud(str(path), points, {name: np.array(vertex[name]) for name in vertex.dtype.names if name not in "xyz"})


def read_pcd(path: Path, samples: int, seed: int) -> Cloud:
    """A cloud of the Point Cloud Library."""
    import open3d

    declared = _pcd_points(path)
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        cloud = open3d.t.io.read_point_cloud(path, remove_nan_points=False, remove_infinite_points=False)
    if "positions" not in cloud.point or len(cloud.point.positions) == 0:
        raise InputError(
            f"{path}: no point could be read ({declared} announced); the file is truncated or has no x y z"
        )
    if len(cloud.point.positions) != declared:
        raise InputError(
            f"{path}: {declared} points announced, {len(cloud.point.positions)} read; the file is truncated"
        )
    points = cloud.point.positions.numpy()
    fields = {name: cloud.point[name].numpy() for name in cloud.point if name != "positions"}
    return Cloud(str(path), points, {name: v[:, 0] if v.shape[1] == 1 else v for name, v in fields.items()})


def _pcd_points(path: Path) -> int:
    """The number of points that the header announces, checked against the size of an ASCII or binary body."""
    header: dict[str, list[str]] = {}
    with path.open("rb") as stream:
        for _ in range(64):
            words = stream.readline(4096).decode("ascii", "replace").split()
            if words and not words[0].startswith("#"):
                header[words[0].upper()] = words[1:]
            if words and words[0].upper() == "DATA":
                break
        else:
            raise InputError(f"{path}: no PCD header (no DATA line)")
        body = stream.read()
    try:
        count = int(header["POINTS"][0])
        sizes = [int(size) for size in header["SIZE"]]
        repeats = [int(number) for number in header.get("COUNT", ["1"] * len(sizes))]
    except (KeyError, IndexError, ValueError):
        raise InputError(f"{path}: the PCD header lacks a valid POINTS or SIZE line") from None
    if not {"x", "y", "z"} <= set(header.get("FIELDS", ())):
        raise InputError(f"{path}: the PCD has no x y z (fields: {' '.join(header.get('FIELDS', ())) or 'none'})")
    if count > MAX_POINTS:
        raise InputError(f"{path}: the header announces {count} points; the file is damaged")
    kind = header["DATA"][0].lower() if header["DATA"] else ""
    wanted = count * sum(size * repeat for size, repeat in zip(sizes, repeats, strict=True))
    if kind == "binary" and len(body) < wanted:
        raise InputError(f"{path}: truncated: {wanted} bytes of points announced, {len(body)} follow")
    if kind == "ascii" and (lines := sum(1 for line in body.splitlines() if line.strip())) < count:
        raise InputError(f"{path}: truncated: {count} points announced, {lines} lines follow")
    return count


def read_las(path: Path, samples: int, seed: int) -> Cloud:
    """A laser scan, in the units of its coordinate system."""
    import laspy

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
