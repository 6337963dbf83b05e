"""From a source, `shapes:train:400` or `./path:split`, to its clouds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from domains.point_cloud.data.datasets import (
    fewshot_split,
    made,
    modelnet,
    own_folder,
    s3dis,
    scannet,
    scanobjectnn,
    semantic_kitti,
    shapenetpart,
    stacks,
)
from domains.point_cloud.data.datasets.cloud_set import SPLITS, CloudSet, Options, Split
from suite.errors import InputError
from suite.hub import archives

WORLDS = ("shapes", "assemblies")

Reader = Callable[[Path, str, Options], CloudSet]

FORMATS: Mapping[str, tuple[Callable[[Path], bool], Reader]] = {
    "shapenetpart": (shapenetpart.fits, shapenetpart.read),
    "s3dis": (s3dis.fits, s3dis.read),
    "semantic-kitti": (semantic_kitti.fits, semantic_kitti.read),
    "scannet": (scannet.fits, scannet.read),
    "scanobjectnn": (scanobjectnn.fits, scanobjectnn.read),
    "modelnet": (modelnet.is_resampled, modelnet.read_resampled),
    "modelnet-h5": (modelnet.is_hdf5, modelnet.read_hdf5),
    "modelnet-off": (modelnet.is_meshes, modelnet.read_meshes),
    "fewshot": (fewshot_split.fits, fewshot_split.read),
    "h5": (stacks.is_h5, stacks.read_single),
    "table": (own_folder.is_table, own_folder.read_table),
    "folder": (own_folder.is_folder, own_folder.read_folder),
}
"""Formats by name: whether a path is in it, and its reader. The first that fits is taken."""


OWN = ("h5", "table", "folder")
"""Formats of users' own clouds; the others are benchmarks' layouts."""


COLOURED = ("s3dis", "semantic-kitti", "scannet", "table", "folder")
"""Formats whose points may have colours, normals or an intensity."""


def is_benchmark(path: Path) -> bool:
    """Whether a path is laid out as one of the benchmarks."""
    return any(fits(path) for name, (fits, _) in FORMATS.items() if name not in OWN)


def split_of(source: str) -> tuple[str, Split | None]:
    """A source without its split, and the split.

    >>> split_of("./modelnet40:test")
    ('./modelnet40', 'test')
    """
    where, _, last = source.rpartition(":")
    return (where, last) if where and last in SPLITS else (source, None)


def named_split(source: str) -> str | None:
    """The split that a source names, of made data and of files alike."""
    world, *rest = source.split(":")
    return (rest[0] if rest else None) if world in WORLDS else split_of(source)[1]


def open_set(source: str, options: Options | None = None, *, format: str = "auto", split: Split = "train") -> CloudSet:
    """The clouds of a source.

    Args:
        source: `shapes:SPLIT[:COUNT]`, `assemblies:SPLIT[:COUNT]`, or `PATH[:SPLIT]`.
        format: a key of `FORMATS`, or `auto` to find it by what is on disk.
        split: which one, where the source does not say.

    Raises:
        InputError: the source does not exist or is in no known format.
    """
    options = options or Options()
    world, *rest = source.split(":")
    if world in WORLDS:
        if options.inputs:
            raise InputError(f"{source}: made shapes have places alone, no {', '.join(options.inputs)}")
        return _made(source, world, rest, options, split)
    where, named = split_of(source)
    path = fewshot_split.spelled(Path(where).expanduser())
    if not path.exists():
        raise InputError(f"{where}: no such file or folder (made data are called {' and '.join(WORLDS)})")
    if format != "auto" and format not in FORMATS:
        raise InputError(f"unknown data format {format!r}; choose auto, {', '.join(FORMATS)}")
    path = archives.unpacked(path)
    candidates = FORMATS if format == "auto" else {format: FORMATS[format]}
    for name, (fits, reader) in candidates.items():
        if fits(path):
            if options.inputs and name not in COLOURED:
                raise InputError(f"{where}: of {name} places alone are read, no {', '.join(options.inputs)}")
            found = reader(path, named or split, options)
            if not len(found):
                raise InputError(f"{where}: no cloud in its split {named or split!r}; use another split")
            return found
    raise InputError(
        f"{where}: not a known data set ({', '.join(candidates)}); see docs/point_cloud.md for the layouts"
    )


def _made(source: str, world: str, rest: list[str], options: Options, split: Split) -> CloudSet:
    if len(rest) > 2 or (len(rest) == 2 and not rest[1].isdigit()):
        raise InputError(f"source {source!r}: write {world}:SPLIT or {world}:SPLIT:COUNT")
    return made.read(world, rest[0] if rest else split, options, int(rest[1]) if len(rest) == 2 else None)
