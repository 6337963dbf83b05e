"""From a source, `world:train:400` or `./msrvtt:test`, to its pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import cast, get_args

from domains.text_video_retrieval.data.captions import PairSet, Part, Split
from domains.text_video_retrieval.data.datasets import activitynet, beside, didemo, lsmdc, made, msrvtt, msvd, own
from suite.errors import InputError

WORLD = "world"
COUNTS = {"train": 1600, "val": 200, "test": 400}

Reader = Callable[..., PairSet]

FORMATS: Mapping[str, tuple[Callable[[Path], bool], Reader]] = {
    "msrvtt": (msrvtt.fits, msrvtt.read),
    "lsmdc": (lsmdc.fits, lsmdc.read),
    "activitynet": (activitynet.fits, activitynet.read),
    "msvd": (msvd.fits, msvd.read),
    "didemo": (didemo.fits, didemo.read),
    "table": (own.fits, own.read),
    "beside": (beside.fits, beside.read),
}
"""Formats by name: whether a path is in it, and its reader. The first that fits is taken."""

_PARTED = (own.read, beside.read)
"""Those that part their videos themselves when a split is asked for by name."""

FOLDERS = ("Videos", "videos", "video", "clips")
"""Where the videos of a benchmark lie beside its annotations."""


def open_pairs(source: str, *, videos: str | None = None, format: str = "auto", split: Part = "train") -> PairSet:
    """The pairs of a source.

    Args:
        source: `world:SPLIT[:COUNT]`, or `PATH[:SPLIT]` of a benchmark's annotations or of one's own table; the split
            `train_test` is the first sentence of every training video.
        videos: folder of the videos; beside the annotations where left out.
        format: a key of `FORMATS`, or `auto` to find it by what is on disk.
        split: which one, where the source does not say.

    Raises:
        InputError: the source does not exist, is in no known format, or its files are broken.
    """
    name, *rest = source.split(":")
    if name == WORLD:
        return _made(source, rest, split)
    where, named = split_of(source)
    path = Path(where).expanduser()
    if not path.exists():
        raise InputError(f"{where}: no such file or folder (made clips are called {WORLD}:train)")
    if format != "auto" and format not in FORMATS:
        raise InputError(f"unknown data format {format!r}; choose auto, {', '.join(FORMATS)}")
    for fits, reader in (FORMATS if format == "auto" else {format: FORMATS[format]}).values():
        if format != "auto" or fits(path):
            part = named or split
            if reader in _PARTED:
                reader = partial(reader, named=named is not None)
            if part == "train_test":
                return reader(path, _videos(path, videos), "train").first_sentences()
            return reader(path, _videos(path, videos), part)
    raise InputError(f"{path}: is laid out as none of {', '.join(FORMATS)}; give a table with video and caption")


def split_of(source: str) -> tuple[str, Part | None]:
    """A source without its split, and the split."""
    where, _, last = source.rpartition(":")
    return (where, cast(Part, last)) if where and last in get_args(Part) else (source, None)


def _videos(path: Path, given: str | None) -> Path:
    if given is not None:
        return Path(given).expanduser()
    home = path if path.is_dir() else path.parent
    return next((home / name for name in FOLDERS if (home / name).is_dir()), home)


def _made(source: str, rest: list[str], split: Part) -> PairSet:
    asked = rest[0] if rest and rest[0] else split
    if asked not in get_args(Split) or len(rest) > 2 or (len(rest) == 2 and not rest[1].isdecimal()):
        raise InputError(f"{source}: made clips are {WORLD}:SPLIT[:COUNT], e.g. {WORLD}:train:400")
    return made.read(cast(Split, asked), int(rest[1]) if len(rest) == 2 else COUNTS[asked])
