"""What the benchmarks' layouts share: lists of names, frames beside a file of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.tracking.data.frames import PictureFrames
from domains.tracking.data.listing import frames_in, size_in
from domains.tracking.data.pictures import natural
from domains.tracking.data.readers.boxes import lines_of, read_flags
from domains.tracking.data.sequences import AnnotatedSequence, Boxes, Track, checked_name
from suite.errors import InputError


def names_of(path: Path) -> list[str]:
    """The names of a list, one a line.

    Raises:
        InputError: it cannot be read, or a name has a path in it.
    """
    return [checked_name(line) for line in lines_of(path) if line]


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, 2 before 10; hidden ones are left out."""
    return sorted((path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")), key=natural)


def in_pictures(
    name: str,
    files: Sequence[Path] | Path,
    boxes: Boxes,
    present: NDArray[np.bool_] | None = None,
    *,
    boxes_decide: bool = False,
    kind: str = "",
    covered: NDArray[np.bool_] | None = None,
    **about: Any,
) -> AnnotatedSequence:
    """A sequence of pictures with one object.

    One box alone, in a sequence of several frames, is that of the first frame, as test sets have it.

    Args:
        files: the frames, or the folder that holds nothing else.
        boxes: (lines, 4), corners.
        boxes_decide: frames beyond the boxes do not count.

    Raises:
        InputError: there are no frames, or not as many as boxes.
    """
    frames, size = (frames_in(files), size_in(files)) if isinstance(files, Path) else (list(files), None)
    annotated = len(boxes) > 1 or len(frames) == 1
    if not annotated:
        boxes = np.concatenate([boxes, np.full((len(frames) - 1, 4), np.nan)])
        present = None
    elif boxes_decide and len(boxes) < len(frames):
        frames = frames[: len(boxes)]
    for flags, what in ((present, "flags of presence"), (covered, "flags of cover")):
        if flags is not None and len(flags) != len(boxes):
            raise InputError(f"{name}: {len(flags)} {what} for {len(boxes)} boxes; give one for each")
    track = Track.of(boxes, present, covered=covered, annotated=annotated, kind=kind)
    return AnnotatedSequence(name, PictureFrames(frames, size), {"1": track}, **about)


def flagged(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names whose flag is 1 in a file; none where it is not there.

    Raises:
        InputError: it holds something else than zeros and ones, or not one for each name.
    """
    if not path.is_file():
        return ()
    flags = read_flags(path)
    if len(flags) != len(names):
        raise InputError(f"{path}: {len(flags)} flags; there are {len(names)} attributes")
    return tuple(name for name, there in zip(names, flags, strict=True) if there)


def text_of(path: Path) -> str:
    """The words of a file, where it is there."""
    return " ".join(lines_of(path)) if path.is_file() else ""
