"""Videos with their sentences beside them, `a.mp4` and `a.txt` or `a.json`: how img2dataset and webdataset unpack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, annotation, listed, made_set
from domains.text_video_retrieval.data.datasets.own import part_of
from suite.errors import InputError
from suite.media.video import SUFFIXES


def fits(folder: Path) -> bool:
    return folder.is_dir() and (next(_captioned(folder), None) is not None or any(folder.glob("*.tar")))


def read(folder: Path, videos: Path, split: Split, *, named: bool = True) -> PairSet:
    """Every sentence of a text file, a line each, or the `caption` of a JSON file; parted as a table of one's own.

    Raises:
        InputError: a file is broken, or the folder holds archives that are not unpacked.
    """
    pairs = [
        Pair(video.stem, sentence)
        for video, text in _captioned(folder)
        if not named or part_of(video.stem) == split
        for sentence in _sentences(text)
    ]
    if not pairs:
        if archive := next(folder.glob("*.tar"), None):
            raise InputError(f"{folder}: unpack its archives first: tar -xf {archive.name}")
        raise InputError(f"{folder}: has no pair of the split {split}")
    return made_set(f"{folder.name} {split}", pairs, Files.below(folder))


def _captioned(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Videos with the file of their sentences."""
    for video in sorted(folder.rglob("*")):
        if video.suffix.lower() in SUFFIXES:
            for suffix in (".txt", ".json"):
                if (text := video.with_suffix(suffix)).is_file():
                    yield video, text
                    break


def _sentences(file: Path) -> list[str]:
    if file.suffix == ".txt":
        return listed(file)
    return [
        annotation(file, '{"caption": "<sentence>", ...}', lambda content: isinstance(content["caption"], str))[
            "caption"
        ]
    ]
