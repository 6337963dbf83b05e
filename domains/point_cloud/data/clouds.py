"""Point clouds and meshes from files: what users hold, read into `Cloud`; broken files are refused by name and reason.

Meshes are read by trimesh (Open3D drops faces of OBJ files that are no triangles) and sampled by area with a seed;
clouds by plyfile, Open3D (PCD), laspy (LAS, LAZ), h5py and numpy.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

MAX_POINTS = 200_000_000
"""More points than this in a header are taken for a damaged file, before anything is allocated."""

SAMPLES = 8192
"""Points drawn from a mesh's surface."""


@dataclass(frozen=True)
class Cloud:
    """Points of one file, in the file's order and units.

    Attributes:
        points: (N, 3) float64.
        fields: every other value of a point by name, (N,) or (N, k), in the file's own dtype and order.
        sampled: True where the points were drawn from a mesh's surface.
        notes: what a user should know: dropped points, vertices used for a mesh without faces, and the like.
    """

    source: str
    points: NDArray[np.float64]
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sampled: bool = False
    notes: tuple[str, ...] = ()


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
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown format {path.suffix or 'without ending'!r}; known are {' '.join(READERS)}")
    try:
        return reader(path, samples, seed)
    except InputError:
        raise
    # The readers of half a dozen libraries raise whatever their parser met; to the user each means one thing.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: damaged or not {path.suffix} at all ({reason})") from error


def usable(cloud: Cloud, *, strict: bool = False, up: str = "y") -> Cloud:
    """The points of a raw cloud that have a place, y up.

    Raises:
        InputError: there are none, `strict` and one has no place, or the axis is unknown.
    """
    if up not in ("y", "z"):
        raise InputError(f"up axis {up!r}: choose y or z")
    return _turned(_checked(cloud, strict), up)


def seed_of(path: str | Path) -> int:
    """A seed from the file's content, so that a prediction depends on nothing else."""
    with Path(path).open("rb") as stream:
        return int.from_bytes(hashlib.file_digest(stream, "sha256").digest()[:4], "little")


def from_array(array: NDArray[Any], source: str) -> Cloud:
    """A raw cloud from an array (N, 3 or more): x y z first, further columns become its fields.

    Raises:
        InputError: the array is of another shape or no array of numbers.
    """
    return _from_array(Path(source), np.asarray(array), {})


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


def sample_mesh(mesh: Any, count: int, seed: int, source: str) -> Cloud:
    """Draw `count` points from the surface of a trimesh mesh, uniformly by area.

    Raises:
        InputError: the surface has no area.
    """
    import trimesh

    finite = np.isfinite(mesh.vertices[mesh.faces]).all((1, 2))
    area = np.where(finite, mesh.area_faces, 0.0)
    if not area.sum() > 0:
        raise InputError(f"{source}: the mesh's surface has no area (every face is degenerate)")
    points, _ = trimesh.sample.sample_surface(mesh, count, face_weight=area, seed=seed)
    notes = () if finite.all() else (f"{int((~finite).sum())} faces with NaN or infinite corners left out",)
    return Cloud(source, np.asarray(points), sampled=True, notes=notes)


def _read_mesh(path: Path, samples: int, seed: int) -> Cloud:
    import trimesh

    check = {".off": _check_off, ".stl": _check_stl}.get(path.suffix.lower())
    if check:
        check(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            parts = [part for part in loaded.dump() if len(getattr(part, "vertices", ()))]
            if not parts:
                raise InputError(f"{path}: the scene holds no geometry")
            faced = [part for part in parts if len(getattr(part, "faces", ()))]
            loaded = trimesh.util.concatenate(faced or parts)
    faces = getattr(loaded, "faces", None)
    if faces is not None and len(faces):
        if faces.max() >= len(loaded.vertices):
            raise InputError(f"{path}: a face names vertex {int(faces.max())} of {len(loaded.vertices)}")
        return sample_mesh(loaded, samples, seed, str(path))
    vertices = np.asarray(getattr(loaded, "vertices", ()))
    if len(vertices) == 0:
        raise InputError(f"{path}: no vertices and no faces; is this a {path.suffix} file?")
    return Cloud(str(path), vertices, notes=("no faces: its vertices are the cloud",))


def _check_off(path: Path) -> None:
    """OFF has no terminator and trimesh pads what is missing, so the body is counted against the header."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = (line.split("#", 1)[0].split() for line in lines)
        words = [word for row in rows for word in row]
    if not words or not words[0].upper().endswith("OFF"):
        raise InputError(f"{path}: no OFF header in the first line")
    counts = words[1:4]
    if len(counts) < 3 or not all(word.isdigit() for word in counts):
        raise InputError(f"{path}: the OFF header must give the numbers of vertices, faces and edges")
    vertices, faces = int(counts[0]), int(counts[1])
    if max(vertices, faces) > MAX_POINTS:
        raise InputError(f"{path}: the header announces {vertices} vertices and {faces} faces; the file is damaged")
    if len(words) - 4 < 3 * vertices + 4 * faces:
        wanted = f"{vertices} vertices and {faces} faces"
        raise InputError(f"{path}: truncated: the header announces {wanted}, {len(words) - 4} values follow")


def _check_stl(path: Path) -> None:
    """A binary STL announces its triangles, 50 bytes each; trimesh reads a short one as an empty scene."""
    with path.open("rb") as stream:
        header = stream.read(84)
    if header[:5].lower() == b"solid" or len(header) < 84:
        return
    announced, present = int.from_bytes(header[80:84], "little"), (path.stat().st_size - 84) // 50
    if present < announced:
        raise InputError(f"{path}: truncated: {announced} triangles announced, {present} follow")


def _read_ply(path: Path, samples: int, seed: int) -> Cloud:
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
        return _read_mesh(path, samples, seed)
    vertex = data["vertex"].data
    points = np.stack([vertex[axis] for axis in "xyz"], 1)
    return Cloud(str(path), points, {name: np.array(vertex[name]) for name in vertex.dtype.names if name not in "xyz"})


def _read_pcd(path: Path, samples: int, seed: int) -> Cloud:
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


def _read_las(path: Path, samples: int, seed: int) -> Cloud:
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


def _read_text(path: Path, samples: int, seed: int) -> Cloud:
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


def _read_numpy(path: Path, samples: int, seed: int) -> Cloud:
    with path.open("rb") as stream:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _from_array(path, loaded, {})
        arrays = {name: loaded[name] for name in loaded.files}
    return _from_arrays(path, arrays)


def _from_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Cloud:
    key = next((name for name in ("points", "xyz", "pos", "data", "arr_0") if name in arrays), None)
    if key is None:
        raise InputError(f"{path}: no array called points, xyz, pos or data (found: {', '.join(arrays) or 'nothing'})")
    points = arrays[key]
    fields = {name: v for name, v in arrays.items() if name != key and v.ndim in (1, 2) and len(v) == len(points)}
    return _from_array(path, points, fields)


def _from_array(path: Path, array: NDArray[Any], fields: Mapping[str, NDArray[Any]]) -> Cloud:
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


def _read_h5(path: Path, samples: int, seed: int) -> Cloud:
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


READERS: Mapping[str, Callable[[Path, int, int], Cloud]] = {
    ".ply": _read_ply,
    ".pcd": _read_pcd,
    ".xyz": _read_text,
    ".txt": _read_text,
    ".csv": _read_text,
    ".las": _read_las,
    ".laz": _read_las,
    ".obj": _read_mesh,
    ".off": _read_mesh,
    ".stl": _read_mesh,
    ".glb": _read_mesh,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".h5": _read_h5,
}
"""Readers by file ending: `(path, samples, seed) -> Cloud`."""
