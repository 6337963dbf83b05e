"""Which frames lie in a folder, and their size: looked up once, and again when the folder changes.

A data set has millions of frames in tens of thousands of folders; listing them all takes minutes on a slow disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from domains.tracking.data.pictures import frame_files, picture_size
from suite.errors import InputError
from suite.files import write_text
from suite.hub import paths

WORTHWHILE = 50
"""Folders from which on what was found is kept on the disk."""

_OPEN: ContextVar[Index | None] = ContextVar("index of frames", default=None)


class Index:
    """What is known of the folders of one data set.

    Args:
        root: of the data set. file: where it is kept.
    """

    def __init__(self, root: Path, file: Path) -> None:
        self.root, self.file = root, file
        self._known = _stored(file)
        self._used: dict[str, list[Any]] = {}
        self._new = False

    def frames(self, folder: Path) -> list[Path]:
        """The pictures of a folder in their order, as `frame_files`.

        Raises:
            InputError: as for `frame_files`.
        """
        return [folder / name for name in _names(self._entry(folder)[1])]

    def size(self, folder: Path) -> tuple[int, int]:
        """Width and height of its first picture."""
        width, height = self._entry(folder)[2]
        return width, height

    def save(self) -> None:
        """Keep what was used, where it is new and worth it."""
        if self._new and len(self._used) >= WORTHWHILE:
            write_text(self.file, json.dumps(self._used, separators=(",", ":")))

    def _entry(self, folder: Path) -> list[Any]:
        try:
            key, changed = folder.resolve().relative_to(self.root).as_posix(), folder.stat().st_mtime_ns
        except (OSError, ValueError):
            raise InputError(f"{folder}: no such folder of frames; check the path") from None
        known = self._used.get(key) or self._known.get(key)
        if known is None or known[0] != changed:
            files = frame_files(folder)
            known, self._new = [changed, _packed([file.name for file in files]), list(picture_size(files[0]))], True
        self._used[key] = known
        return known


@contextmanager
def indexed(root: Path) -> Iterator[Index]:
    """Look folders below `root` up in its index within the block, and keep the index after it."""
    root = root.resolve()
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    index = Index(root, paths.cache() / "tracking" / f"{digest}.json")
    token = _OPEN.set(index)
    try:
        yield index
    finally:
        _OPEN.reset(token)
    index.save()


def frames_in(folder: Path) -> list[Path]:
    """The pictures of a folder in their order, from the open index where there is one.

    Raises:
        InputError: as for `frame_files`.
    """
    index = _OPEN.get()
    if index is None or not folder.is_dir() or not folder.resolve().is_relative_to(index.root):
        return frame_files(folder)
    return index.frames(folder)


def size_in(folder: Path) -> tuple[int, int] | None:
    """Width and height of a folder's first picture, from the open index; None where there is none."""
    index = _OPEN.get()
    if index is None or not folder.resolve().is_relative_to(index.root):
        return None
    return index.size(folder)


def _packed(names: list[str]) -> list[Any]:
    """Names that count up without a gap as the first of them and how many; others as they are."""
    match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", names[0])
    if match is not None:
        packed = [match[1], match[2], match[3], len(names)]
        if _names(packed) == names:
            return packed
    return names


def _names(packed: list[Any]) -> list[str]:
    if len(packed) != 4 or not isinstance(packed[3], int):
        return packed
    before, first, after, count = packed
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    return [f"{before}{number:0{width}d}{after}" for number in range(int(first), int(first) + count)]


def _stored(file: Path) -> dict[str, list[Any]]:
    """What was kept; nothing where it cannot be read, which costs time alone."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
