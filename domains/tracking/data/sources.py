"""From a source, `world:train:100` or `./GOT-10k:val`, to its sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast, get_args

from domains.tracking.data.datasets import coco, got10k, lasot, made, nfs, otb, own, tnl2k, trackingnet, uav, vot
from domains.tracking.data.listing import indexed
from domains.tracking.data.sequences import SequenceSet
from domains.tracking.data.world import Split
from suite.errors import InputError

WORLD = "world"
SPLITS = ("train", "val", "test", "30", "240", "20l")

Reader = Callable[[Path, str], SequenceSet]

FORMATS: Mapping[str, tuple[Callable[[Path], bool], Reader]] = {
    "got10k": (got10k.fits, got10k.read),
    "trackingnet": (trackingnet.fits, trackingnet.read),
    "uav": (uav.fits, uav.read),
    "nfs": (nfs.fits, nfs.read),
    "otb": (otb.fits, otb.read),
    "lasot": (lasot.fits, lasot.read),
    "tnl2k": (tnl2k.fits, tnl2k.read),
    "coco": (coco.fits, coco.read),
    "vot": (vot.fits, vot.read),
    "own": (own.fits, own.read),
    # Of polygons the box of the corners, in place of the one of the same area; only where it is asked for.
    "corners": (lambda path: False, lambda path, split: _by_corners(path, split)),
}
"""Formats by name: whether a path is in it, and its reader. The first that fits is taken."""


def _by_corners(path: Path, split: str) -> SequenceSet:
    return (vot.read if vot.fits(path) else own.read)(path, split, "corners")


def split_of(source: str) -> tuple[str, str | None]:
    """A source without its split, and the split.

    >>> split_of("./GOT-10k:val")
    ('./GOT-10k', 'val')
    """
    where, _, last = source.rpartition(":")
    return (where, last) if where and last in SPLITS else (source, None)


def is_set(path: Path) -> bool:
    """Whether a path is laid out in a known format."""
    return any(fits(path) for fits, _ in FORMATS.values())


def open_set(source: str, *, format: str = "auto", split: str = "train") -> SequenceSet:
    """The sequences of a source.

    Args:
        source: `world:SPLIT[:COUNT]`, or `PATH[:SPLIT]` of a benchmark's folder, a sequence or a file.
        format: a key of `FORMATS`, or `auto` to find it by what is on disk.
        split: which one, where the source does not say.

    Raises:
        InputError: the source does not exist, is in no known format, is empty, or its files are broken.
    """
    name, *rest = source.split(":")
    if name == WORLD:
        return _made(source, rest, split)
    where, named = split_of(source)
    path = Path(where).expanduser()
    if not path.exists():
        raise InputError(f"{where}: no such file or folder (made sequences are called {WORLD}:test)")
    if format != "auto" and format not in FORMATS:
        raise InputError(f"unknown data format {format!r}; choose auto, {', '.join(FORMATS)}")
    for fits, read in (FORMATS if format == "auto" else {format: FORMATS[format]}).values():
        if format != "auto" or fits(path):
            with indexed(path if path.is_dir() else path.parent):
                found = read(path, named or split)
            if not len(found):
                raise InputError(f"{where}: its split {named or split} has no sequence")
            return found
    raise InputError(
        f"{where}: laid out as none of {', '.join(FORMATS)}; for data of your own give folders of frames with "
        "groundtruth.txt in each (x,y,w,h a line)"
    )


def _made(source: str, rest: list[str], split: str) -> SequenceSet:
    asked = rest[0] if rest and rest[0] else split
    if asked not in get_args(Split) or len(rest) > 2 or (len(rest) == 2 and not rest[1].isdecimal()):
        raise InputError(f"{source}: made sequences are {WORLD}:SPLIT[:COUNT], e.g. {WORLD}:train:100")
    return made.read(cast(Split, asked), int(rest[1]) if len(rest) == 2 else None)
