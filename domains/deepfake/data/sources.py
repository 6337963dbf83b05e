"""From a source, `faces:train:200` or `./path:split`, to its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from domains.deepfake.data.datasets import (
    benchmarks,
    deepfakebench,
    frame_lists,
    made,
    own_folder,
    own_videos,
)
from domains.deepfake.data.datasets.own_videos import Cutting
from domains.deepfake.data.frame_set import FrameSet, joined
from suite.errors import InputError

SPLITS = ("train", "val", "test")

CLIPS = 400
"""Of the made world, where a source does not say how many."""


@dataclass(frozen=True)
class Options:
    """What a source may be read with.

    Attributes:
        compression: of FaceForensics++'s family: c23, c40 or raw.
        val_share: share of the identities that is held out of an own folder.
        limit: at most so many frames of lists, by whole videos.
        frames: of a made clip.
        seed: of what is held out.
        cutting: how faces are cut out of own videos.
    """

    compression: str = "c23"
    val_share: float = 0.1
    limit: int | None = None
    frames: int = 4
    seed: int = 0
    cutting: Cutting = field(default_factory=Cutting)


Source: TypeAlias = str | Sequence[str] | Mapping[str, Sequence[str]]
"""One source, several as one, or several by the names of the data sets that they are scored as."""

Reader = Callable[[Path, str, Options], FrameSet]


def _compressed(read: Callable[[Path, str, str], FrameSet]) -> Reader:
    return lambda path, split, options: read(path, split, options.compression)


FORMATS: Mapping[str, tuple[Callable[[Path], bool], Reader]] = {
    "lists": (lambda path: path.suffix == ".txt", lambda path, _, options: frame_lists.read([path], options.limit)),
    "deepfakebench": (
        lambda path: path.suffix == ".json",
        lambda path, split, options: deepfakebench.read(path, split, options.compression),
    ),
    **{name: (fits, _compressed(read)) for name, (fits, read) in benchmarks.LAYOUTS.items()},
    "videos": (
        own_videos.fits,
        lambda path, split, options: own_videos.read(
            path, split, options.cutting, val_share=options.val_share, seed=options.seed
        ),
    ),
    "folder": (
        own_folder.fits,
        lambda path, split, options: own_folder.read(path, split, val_share=options.val_share, seed=options.seed),
    ),
}
"""Formats by name: whether a path is in it, and its reader. The first that fits is taken."""


def split_of(source: str) -> tuple[str, str | None]:
    """A source without its split, and the split.

    >>> split_of("./FaceForensics++:test")
    ('./FaceForensics++', 'test')
    """
    where, _, last = source.rpartition(":")
    return (where, last) if where and last in SPLITS else (source, None)


def open_sets(
    source: Source, options: Options | None = None, *, format: str = "auto", split: str = "train"
) -> FrameSet:
    """As `open_set`, of one or several sources; several lists of frames are one list, as in the released code.

    Raises:
        InputError: as `open_set`; or there is no source.
    """
    if isinstance(source, str):
        return open_set(source, options, format=format, split=split)
    named = source if isinstance(source, Mapping) else {"": source}
    every = [one for several in named.values() for one in several]
    if not every:
        raise InputError("data: an empty list of sources; give at least one")
    if format in ("auto", "lists") and all(Path(one).suffix == ".txt" for one in every):
        for one in every:
            _existing(one)
        files = {name: [Path(one).expanduser() for one in several] for name, several in named.items()}
        return frame_lists.read(files.get("", files), (options or Options()).limit)
    found = {name: [open_set(one, options, format=format, split=split) for one in s] for name, s in named.items()}
    return joined(found)


def parsed(word: str) -> tuple[str, list[str]]:
    """A word of a command as a name and its sources: `NAME=SOURCE,SOURCE`, `SOURCE,SOURCE` or `SOURCE`.

    >>> parsed("CDF=real.txt,fake.txt")
    ('CDF', ['real.txt', 'fake.txt'])
    """
    if Path(split_of(word)[0]).expanduser().exists():
        return word, [word]
    name, equals, rest = word.partition("=")
    return (name, rest.split(",")) if equals and name and rest else (word, word.split(","))


def _existing(where: str) -> Path:
    path = Path(where).expanduser()
    if not path.exists():
        raise InputError(f"{where}: no such file or folder (made data are called {made.NAME}:SPLIT)")
    return path


def open_set(source: str, options: Options | None = None, *, format: str = "auto", split: str = "train") -> FrameSet:
    """The frames of a source.

    Args:
        source: `faces:SPLIT[:CLIPS[:FRAMES]]`, or `PATH[:SPLIT]`: a list of frames (.txt), DeepfakeBench's .json, the
            folder of a data set, or a folder with real/ and fake/.
        format: a key of `FORMATS`, or `auto` to find it by what is on disk.
        split: which one, where the source does not say.

    Raises:
        InputError: the source does not exist, is in no known format, or is empty.
    """
    options = options or Options()
    world, *rest = source.split(":")
    if world == made.NAME:
        if not 1 <= len(rest) <= 3 or not all(number.isdigit() and int(number) for number in rest[1:]):
            raise InputError(f"source {source!r}: write {made.NAME}:SPLIT, with :CLIPS and :FRAMES of each behind it")
        clips, frames = (*map(int, rest[1:]), *(CLIPS, options.frames)[len(rest) - 1 :])
        return made.read(rest[0], clips, frames)
    where, named = split_of(source)
    path = _existing(where)
    if format != "auto" and format not in FORMATS:
        raise InputError(f"unknown data format {format!r}; choose auto, {', '.join(FORMATS)}")
    candidates = FORMATS if format == "auto" else {format: FORMATS[format]}
    for fits, reader in candidates.values():
        if fits(path):
            found = reader(path, named or split, options)
            if not len(found):
                raise InputError(
                    f"{where}: no frame in its split {named or split!r}; cut faces out by preprocess first"
                )
            return found
    raise InputError(f"{where}: not a known data set ({', '.join(candidates)}); see docs/deepfake.md for the layouts")
