"""Clouds with a label a point, written back with everything that the input had.

The labels' field is called `label`; a field of the input that stands in the way is kept as `original_<name>`. Points
that were left out for their NaN coordinates keep their place and are labelled -1.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.pcd import read_header
from domains.point_cloud.data.readers.text import with_column
from domains.point_cloud.types import Cloud
from suite.errors import InputError, first_line
from suite.files import atomic_file
from suite.media import points as drawing
from suite.media.sheets import Pixels

LABEL = "label"
COLORS = ("red", "green", "blue")
UNLABELLED = (160, 160, 160)

Fields = dict[str, NDArray[Any]]


def write_labelled(
    cloud: Cloud,
    labels: NDArray[np.integer],
    folder: Path,
    name: str,
    format: str = "input",
    colors: Pixels | None = None,
) -> Path:
    """Write a cloud with its labels, all or nothing.

    Args:
        cloud: the input in its own coordinates and order.
        labels: (N,), -1 for none.
        name: of the input; the output is `<name>.labelled.<ending>`.
        colors: (N, 3) of the labels, for formats that hold colours; the palette's own where it is left out.
        format: `input` keeps the input's format; meshes, whose points were drawn, become PLY.

    Raises:
        InputError: the labels do not match the points, or the format is unknown.
    """
    if len(labels) != len(cloud.points):
        raise InputError(f"{cloud.source}: {len(labels)} labels for {len(cloud.points)} points; give one a point")
    ending = _ending(cloud, format)
    if ending not in WRITERS:
        raise InputError(f"no labelled clouds are written as {ending}; choose from {' '.join(WRITERS)}")
    path = folder / f"{name}.labelled{ending}"
    with atomic_file(path) as temporary:
        # Writers choose the format by the ending, which a temporary name lacks.
        staged = temporary.with_name(temporary.name + ending)
        try:
            WRITERS[ending](cloud, np.asarray(labels), label_colors(labels) if colors is None else colors, staged)
            staged.replace(temporary)
        except (InputError, OSError, KeyboardInterrupt, SystemExit):
            raise
        # What a library cannot write, panics of Rust code among it, is one cloud's trouble and no other's.
        except BaseException as error:
            raise InputError(f"{cloud.source}: cannot be written as {ending} ({first_line(error)})") from error
        finally:
            staged.unlink(missing_ok=True)
    return path


def label_colors(labels: NDArray[np.integer]) -> Pixels:
    """A colour for each label, grey for -1."""
    colors = drawing.label_colors(np.maximum(labels, 0))
    colors[labels < 0] = UNLABELLED
    return colors


def _ending(cloud: Cloud, format: str) -> str:
    if format != "input":
        return f".{format.lower()}"
    ending = Path(cloud.source).suffix.lower()
    return ending if ending in WRITERS and not cloud.sampled else ".ply"


def _kept(cloud: Cloud, *new: str) -> Fields:
    """The input's fields, those in the way of the new ones renamed."""
    names = set(cloud.fields)
    return {_spare(name, names) if name.lower() in new else name: values for name, values in cloud.fields.items()}


def _spare(name: str, taken: Container[str]) -> str:
    """`original_<name>`, numbered where an earlier output, read as an input, has that already."""
    wanted, number = f"original_{name}", 1
    while wanted in taken:
        number += 1
        wanted = f"original_{name}_{number}"
    return wanted


def _flat(fields: Mapping[str, NDArray[Any]]) -> Fields:
    """Fields of several columns as one field a column."""
    flat: Fields = {}
    for name, values in fields.items():
        if values.ndim == 1:
            flat[name] = values
        else:
            flat |= {f"{name}_{column}": values[:, column] for column in range(values.shape[1])}
    return flat


def _ply(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    """Binary little-endian with `int label` and `uchar red green blue`."""
    import plyfile

    fields = _flat(_kept(cloud, LABEL, *COLORS))
    coordinates = _coordinates(cloud.points)
    columns: Fields = {axis: coordinates[:, number] for number, axis in enumerate("xyz")}
    columns |= {name: _ply_number(values) for name, values in fields.items()}
    columns |= dict(zip(COLORS, colors.T, strict=True))
    columns[LABEL] = labels.astype(np.int32)
    vertex = np.empty(len(labels), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        vertex[name] = values
    source = Path(cloud.source)
    given = None
    if source.suffix.lower() == ".ply" and not cloud.sampled and source.is_file():
        given = plyfile.PlyData.read(str(source))
    elements = [plyfile.PlyElement.describe(vertex, "vertex")]
    if given is None:
        plyfile.PlyData(elements, text=False, byte_order="<").write(str(path))
        return
    # What else the file held: cameras, empty face lists, comments.
    elements += [element for element in given.elements if element.name != "vertex"]
    told = {"comments": given.comments, "obj_info": given.obj_info}
    plyfile.PlyData(elements, text=False, byte_order="<", **told).write(str(path))


def _coordinates(points: NDArray[np.float64]) -> NDArray[np.floating]:
    """Float32 where it holds the coordinates as well as the file did, as for anything near the origin."""
    small = points.astype(np.float32)
    finite = np.isfinite(points).all(1)
    reach = np.ptp(points[finite], axis=0).max() if finite.any() else 0.0
    exact = np.abs(small[finite] - points[finite]).max(initial=0.0) <= 1e-6 * reach
    return small if exact else points


def _ply_number(values: NDArray[Any]) -> NDArray[Any]:
    """PLY knows integers of up to 32 bits; longer ones and booleans are written as what holds them."""
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu" and values.dtype.itemsize > 4:
        return values.astype(np.int32) if np.abs(values).max(initial=0) < 2**31 else values.astype(np.float64)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _las(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    """LAS or LAZ: the field `classification`, and the exact label in an extra dimension.

    `classification` holds 0-31 in the older point formats; labels beyond the room it has are 0 there.
    """
    import laspy

    source = Path(cloud.source)
    if source.suffix.lower() in (".las", ".laz") and source.is_file():
        las = laspy.read(str(source))
    else:
        las = _fresh_las(cloud)
    # COPC's own records describe the tree of the points as they lay there; laspy writes plain LAZ, without a tree.
    las.vlrs = [record for record in las.vlrs if record.user_id != "copc"]
    if getattr(las, "evlrs", None):
        las.evlrs = [record for record in las.evlrs if record.user_id != "copc"]
    names = list(las.point_format.dimension_names)
    if LABEL in names:
        spare = _spare(LABEL, names)
        las.add_extra_dim(laspy.ExtraBytesParams(spare, np.float64))
        las[spare] = np.asarray(las[LABEL], dtype=np.float64)
        las.remove_extra_dim(LABEL)
    if "classification" in cloud.fields:
        spare = _spare("classification", names)
        las.add_extra_dim(laspy.ExtraBytesParams(spare, np.uint8))
        las[spare] = np.asarray(cloud.fields["classification"], dtype=np.uint8)
    las.add_extra_dim(laspy.ExtraBytesParams(LABEL, np.int32))
    las[LABEL] = labels.astype(np.int32)
    room = 31 if las.header.point_format.id < 6 else 255
    las.classification = np.where((labels >= 0) & (labels <= room), labels, 0).astype(np.uint8)
    las.write(str(path))


def _fresh_las(cloud: Cloud) -> Any:
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.offsets = np.nanmin(cloud.points, axis=0)
    span = np.nanmax(cloud.points, axis=0) - header.offsets
    # Integers of 32 bits: a millionth of the extent keeps all that float32 clouds have.
    header.scales = np.maximum(span, 1e-9) / 1e9
    las = laspy.LasData(header)
    las.x, las.y, las.z = np.nan_to_num(cloud.points).T
    for name, values in _flat(_kept(cloud, LABEL, "classification")).items():
        if name.lower() in ("red", "green", "blue") and values.dtype == np.uint8:
            las[name.lower()] = values.astype(np.uint16) * 257
        else:
            las.add_extra_dim(laspy.ExtraBytesParams(name[:32], np.float64))
            las[name[:32]] = values.astype(np.float64)
    return las


def _npy(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    """The input's array with one more field, or one more column at the end."""
    source = Path(cloud.source)
    given = np.load(source, allow_pickle=False) if source.suffix == ".npy" and source.is_file() else None
    if given is not None and given.dtype.names:
        names = {name: _spare(name, given.dtype.names) if name == LABEL else name for name in given.dtype.names}
        kinds = [(names[name], given.dtype[name]) for name in given.dtype.names]
        table = np.empty(len(given), dtype=[*kinds, (LABEL, np.int32)])
        for name, kept in names.items():
            table[kept] = given[name]
        table[LABEL] = labels
    else:
        columns = np.column_stack([cloud.points, *_flat(cloud.fields).values()]) if given is None else given
        kind = np.result_type(columns.dtype, np.float32)
        table = np.column_stack([columns.astype(kind), labels.astype(kind)])
    with path.open("wb") as stream:
        np.save(stream, table)


def _npz(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    with path.open("wb") as stream:
        arrays: dict[str, Any] = {"points": cloud.points, **_kept(cloud, LABEL), LABEL: labels.astype(np.int32)}
        np.savez_compressed(stream, **arrays)


def _text(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    """The label as the last column: of the input's own lines where it is text of the same kind, else of new ones.

    New lines have every digit that tells a number from its neighbours, and names in CSV.
    """
    source = Path(cloud.source)
    if source.is_file() and source.suffix.lower() == path.suffix.lower():
        spare = _spare(LABEL, {name.lower() for name in cloud.fields})
        text = with_column(source, LABEL, [str(label) for label in labels.tolist()], spare)
        if text is not None:
            path.write_text(text, encoding="utf-8")
            return
    fields = _flat(_kept(cloud, LABEL))
    columns = [_digits(column) for column in (*cloud.points.T, *fields.values(), labels)]
    comma = path.suffix.lower() == ".csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="," if comma else " ", lineterminator="\n")
        if comma:
            writer.writerow(["x", "y", "z", *fields, LABEL])
        writer.writerows(zip(*columns, strict=True))


def _digits(values: NDArray[Any]) -> list[str]:
    """Numbers as the shortest text that is read back as they are; whole ones without a point."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    whole = len(finite) == len(values) and np.array_equal(finite, np.round(finite)) and np.abs(finite).max() < 2**53
    return [str(value) for value in (values.astype(np.int64) if whole else values).tolist()]


def _pcd(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    """Binary PCD: the input's fields, `label`, the labels' colours as packed `rgb`; organised and seen as the input."""
    fields = _kept(cloud, LABEL, "rgb")
    columns: Fields = dict(zip("xyz", _coordinates(cloud.points).T, strict=True))
    columns |= {name: _ply_number(values) for name, values in fields.items()}
    red, green, blue = colors.astype(np.uint32).T
    columns["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    columns[LABEL] = labels.astype(np.int32)
    kinds = [(name, values.dtype.newbyteorder("<"), values.shape[1:]) for name, values in columns.items()]
    table = np.empty(len(labels), dtype=kinds)
    for name, values in columns.items():
        table[name] = values
    source = Path(cloud.source)
    given = read_header(source) if source.suffix.lower() == ".pcd" and source.is_file() else None
    lines = {
        "VERSION": "0.7",
        "FIELDS": " ".join(columns),
        "SIZE": " ".join(str(values.dtype.itemsize) for values in columns.values()),
        "TYPE": " ".join({"f": "F", "i": "I", "u": "U"}[values.dtype.kind] for values in columns.values()),
        "COUNT": " ".join(str(int(np.prod(values.shape[1:]))) for values in columns.values()),
        "WIDTH": given.width if given else len(labels),
        "HEIGHT": given.height if given else 1,
        "VIEWPOINT": given.viewpoint if given else "0 0 0 1 0 0 0",
        "POINTS": len(labels),
        "DATA": "binary",
    }
    told = "".join(f"{comment}\n" for comment in (given.comments if given else ()))
    header = told + "".join(f"{name} {value}\n" for name, value in lines.items())
    path.write_bytes(header.encode() + table.tobytes())


def _h5(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in {"points": cloud.points, **_kept(cloud, LABEL), LABEL: labels.astype(np.int32)}.items():
            file[name] = values


WRITERS: Mapping[str, Callable[[Cloud, NDArray[np.integer], Pixels, Path], None]] = {
    ".ply": _ply,
    ".pcd": _pcd,
    ".las": _las,
    ".laz": _las,
    ".npy": _npy,
    ".npz": _npz,
    ".xyz": _text,
    ".txt": _text,
    ".csv": _text,
    ".pts": _text,
    ".h5": _h5,
}
"""Writers by file ending: `(cloud, labels, colors, path)`."""
