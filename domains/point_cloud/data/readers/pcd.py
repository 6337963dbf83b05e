"""PCD, the format of the Point Cloud Library, read with every field under the name that the file gives it.

Open3D's reader renames normals, drops what it does not know and ends the process over padding fields, so the format
(https://pointclouds.org/documentation/tutorials/pcd_file_format.html) is read here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.meshes import MAX_POINTS
from domains.point_cloud.types import Cloud
from suite.errors import InputError

PADDING = "_"
_KINDS = {"F": "f", "I": "i", "U": "u"}


@dataclass(frozen=True)
class Header:
    """What a PCD file says before its points.

    Attributes:
        fields: names; `_` is padding. dtypes: little-endian, one a field. counts: values of each field in a point.
        width, height: organisation; a cloud without any has height 1. viewpoint: of the sensor, as written.
        data: ascii, binary or binary_compressed. size: bytes of the header itself.
        comments: lines that start with #, without the line that names the format.
    """

    fields: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    counts: tuple[int, ...]
    width: int
    height: int
    points: int
    viewpoint: str
    data: str
    size: int
    comments: tuple[str, ...]

    @property
    def point_size(self) -> int:
        """Bytes of a point."""
        return sum(dtype.itemsize * count for dtype, count in zip(self.dtypes, self.counts, strict=True))

    @property
    def layout(self) -> np.dtype:
        """A point as NumPy takes it; fields are called by their number, since paddings share a name."""
        parts = zip(self.dtypes, self.counts, strict=True)
        return np.dtype([(str(n), dtype, (count,)) for n, (dtype, count) in enumerate(parts)])


def read_header(path: Path) -> Header:
    """The header of a PCD file, checked.

    Raises:
        InputError: there is none, or it contradicts itself.
    """
    lines: dict[str, list[str]] = {}
    comments: list[str] = []
    with path.open("rb") as stream:
        for _ in range(256):
            line = stream.readline(65536).decode("utf-8", "replace").strip()
            words = line.split()
            if line.startswith("#"):
                comments.append(line)
            elif words:
                lines[words[0].upper()] = words[1:]
            if words and words[0].upper() == "DATA":
                break
        else:
            raise InputError(f"{path}: no PCD header (no DATA line)")
        size = stream.tell()
    names = tuple(lines.get("FIELDS", lines.get("COLUMNS", ())))
    try:
        points = int(lines["POINTS"][0]) if "POINTS" in lines else int(lines["WIDTH"][0]) * int(lines["HEIGHT"][0])
        sizes = [int(one) for one in lines["SIZE"]]
        counts = [int(one) for one in lines.get("COUNT", ["1"] * len(sizes))]
        kinds = [_KINDS[one.upper()] for one in lines["TYPE"]]
        dtypes = tuple(np.dtype(f"<{kind}{one}") for kind, one in zip(kinds, sizes, strict=True))
        width, height = int(lines.get("WIDTH", [points])[0]), int(lines.get("HEIGHT", [1])[0])
        whole = len(names) == len(sizes) == len(counts) and min(counts, default=1) >= 1
    except (KeyError, IndexError, ValueError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path}: the PCD header lacks a valid POINTS, SIZE, TYPE or COUNT line")
    if not {"x", "y", "z"} <= {name.lower() for name in names}:
        raise InputError(f"{path}: the PCD has no x y z (fields: {' '.join(names) or 'none'})")
    if not 0 <= points <= MAX_POINTS or sum(counts) > 65536:
        raise InputError(f"{path}: the header announces {points} points; the file is damaged")
    if width * height != points:
        width, height = points, 1
    data = (lines["DATA"] or [""])[0].lower()
    if data not in ("ascii", "binary", "binary_compressed"):
        raise InputError(f"{path}: PCD data are ascii, binary or binary_compressed, not {data or 'nothing'!r}")
    viewpoint = " ".join(lines.get("VIEWPOINT", ())) or "0 0 0 1 0 0 0"
    kept = tuple(line for line in comments if ".PCD" not in line.upper())
    return Header(names, dtypes, tuple(counts), width, height, points, viewpoint, data, size, kept)


def read_pcd(path: Path, samples: int, seed: int) -> Cloud:
    """A cloud of the Point Cloud Library; a field of several values a point is one field (N, k)."""
    header = read_header(path)
    with path.open("rb") as stream:
        stream.seek(header.size)
        body = stream.read()
    table = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}[header.data](path, header, body)
    fields: dict[str, NDArray[np.generic]] = {}
    for number, name in enumerate(header.fields):
        if name != PADDING:
            values = table[str(number)]
            fields[name] = np.ascontiguousarray(values[:, 0] if header.counts[number] == 1 else values)
    axes = {name.lower(): name for name in fields if name.lower() in ("x", "y", "z")}
    if any(fields[axes[axis]].ndim != 1 for axis in "xyz"):
        raise InputError(f"{path}: x, y and z must have one value a point")
    points = np.stack([fields.pop(axes[axis]) for axis in "xyz"], 1)
    return Cloud(str(path), points, fields)


def _ascii(path: Path, header: Header, body: bytes) -> NDArray[np.void]:
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < header.points:
        raise InputError(f"{path}: truncated: {header.points} points announced, {len(lines)} lines follow")
    rows = [line.split() for line in lines[: header.points]]
    width = sum(header.counts)
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise InputError(f"{path}, point {number}: {len(row)} values where the header names {width}")
    table = np.empty(header.points, dtype=header.layout)
    first = 0
    for number, (dtype, count) in enumerate(zip(header.dtypes, header.counts, strict=True)):
        words = [row[first : first + count] for row in rows]
        try:
            if dtype.kind == "f":
                values = np.array(words, dtype=np.float64).astype(dtype)
            else:  # through Python's integers: float64 holds 53 bits of them
                values = np.array([[int(word) for word in row] for row in words], dtype=dtype)
        except (ValueError, OverflowError):
            name = header.fields[number]
            raise InputError(f"{path}: the field {name} holds something that is no {dtype.name}") from None
        table[str(number)] = values.reshape(header.points, count)
        first += count
    return table


def _binary(path: Path, header: Header, body: bytes) -> NDArray[np.void]:
    wanted = header.points * header.point_size
    if len(body) < wanted:
        raise InputError(f"{path}: truncated: {wanted} bytes of points announced, {len(body)} follow")
    return np.frombuffer(body, dtype=header.layout, count=header.points)


def _compressed(path: Path, header: Header, body: bytes) -> NDArray[np.void]:
    """Fields one after another, compressed by LZF together."""
    wanted = header.points * header.point_size
    unreadable = f"{path}: no point could be read ({header.points} announced); the file is truncated or damaged"
    if len(body) < 8:
        raise InputError(unreadable)
    packed, unpacked = struct.unpack("<II", body[:8])
    if unpacked != wanted or len(body) - 8 < packed:
        raise InputError(unreadable)
    content = _unpack_lzf(body[8 : 8 + packed], unpacked)
    if content is None:
        raise InputError(unreadable)
    table = np.empty(header.points, dtype=header.layout)
    first = 0
    for number, (dtype, count) in enumerate(zip(header.dtypes, header.counts, strict=True)):
        values = np.frombuffer(content, dtype=dtype, count=header.points * count, offset=first)
        table[str(number)] = values.reshape(header.points, count)
        first += values.nbytes
    return table


def _unpack_lzf(packed: bytes, size: int) -> bytes | None:
    """LZF by the decompressor that HDF5 files use: the data pass through a file in memory as one chunk of it."""
    import h5py

    if size == 0:
        return b""
    with h5py.File("lzf", "w", driver="core", backing_store=False) as file:
        chunk = file.create_dataset("chunk", (size,), dtype="u1", chunks=(size,), compression="lzf")
        chunk.id.write_direct_chunk((0,), packed)
        try:
            return bytes(chunk[()])
        except OSError:
            return None
