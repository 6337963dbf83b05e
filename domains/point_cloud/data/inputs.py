"""What users hand to a predictor: files, arrays, standard input; read into `Cloud` one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from domains.point_cloud.data import clouds
from domains.point_cloud.data.readers import formats
from domains.point_cloud.types import Cloud
from suite.errors import InputError
from suite.prediction.inputs import STDIN, expanded, read_stdin, several
from suite.prediction.loop import reason

_SIGNATURES = {
    b"ply": ".ply",
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"LASF": ".las",
    b"ASTM-E57": ".e57",
    b"glTF": ".glb",
    b"OFF": ".off",
    b"\x89HDF": ".h5",
    b"# .PCD": ".pcd",
    b"VERSION": ".pcd",
    b"{": ".gltf",
    b"solid": ".stl",
}
"""First bytes of the formats that can be told by them; anything else from standard input is read as text."""


@dataclass(frozen=True)
class Opened:
    """One input: its cloud, or why it cannot be read.

    Attributes:
        cloud: the points that can be used, y up. raw: every point in the file's own coordinates and order.
        seed: given, or 0: the same cloud in another format is drawn from alike.
        up: axis that points up in the file.
    """

    source: str
    cloud: Cloud | None = None
    raw: Cloud | None = None
    error: str | None = None
    seed: int = 0
    up: str = "y"


def check_samples(samples: int) -> None:
    """Refuse a number of points that cannot be drawn from a mesh."""
    if samples < 0:
        raise InputError(f"samples is {samples}; give the points to draw from a mesh, or 0 for its vertices")


def open_all(inputs: Any, *, samples: int, seed: int | None, strict: bool, up: str) -> Iterator[Opened]:
    """Read every input in order; one that cannot be read is yielded with its error.

    Args:
        inputs: one or several paths, arrays (N, 3 or more), `Cloud`s, or `-`; a folder stands for its files.
        samples, strict, up: as `clouds.read` takes them.
        seed: of all that is drawn; None is 0.
    """
    given = (_input(one) for one in several(_array_of(inputs), np.ndarray, Cloud))
    for number, one in enumerate(expanded(given, tuple(formats.READERS))):
        source = _name(one, number)
        try:
            yield _open(one, source, samples=samples, seed=seed, strict=strict, up=up)
        except InputError as error:
            yield Opened(source, error=reason(error, source))


def _array_of(one: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return one.detach().cpu().numpy() if hasattr(one, "detach") else one


def _input(one: Any) -> Any:
    """An input as it is read.

    Raises:
        InputError: it is neither a path nor a cloud.
    """
    one = _array_of(one)
    if not isinstance(one, str | Path | np.ndarray | Cloud):
        raise InputError(f"an input is a path, an array (N, 3) or a Cloud, not {type(one).__name__}")
    return one


def _name(one: Any, number: int) -> str:
    if isinstance(one, Cloud):
        return one.source
    if isinstance(one, np.ndarray):
        return f"array {number + 1}"
    return "stdin" if one == STDIN else str(one)


def _open(one: Any, source: str, *, samples: int, seed: int | None, strict: bool, up: str) -> Opened:
    if isinstance(one, Cloud | np.ndarray):
        raw = one if isinstance(one, Cloud) else clouds.from_array(one, source)
        own = seed or 0
    elif one == STDIN:
        raw, own = _read_stdin(samples, seed)
    else:
        path = Path(one)
        own = seed or 0
        raw = clouds.raw(path, samples=samples, seed=own)
    cloud = clouds.usable(raw, strict=strict, up=up)
    if up == "y" and Path(source).suffix.lower() in (".las", ".laz"):
        cloud = replace(cloud, notes=(*cloud.notes, "LAS files usually have z up and the models y; try --up z"))
    return Opened(source, cloud, raw, seed=own, up=up)


def _read_stdin(samples: int, seed: int | None) -> tuple[Cloud, int]:
    content = read_stdin()
    ending = next((ending for start, ending in _SIGNATURES.items() if content.startswith(start)), ".xyz")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdin{ending}"
        path.write_bytes(content)
        own = seed or 0
        try:
            return replace(clouds.raw(path, samples=samples, seed=own), source="stdin"), own
        except InputError as error:
            raise InputError(str(error).replace(str(path), "stdin")) from None
