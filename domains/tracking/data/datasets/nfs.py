"""NFS: `{sequence}/{30,240}/{sequence}/` and VATIC's lines beside it, which count 240 frames a second in both."""

from __future__ import annotations

import sys
from pathlib import Path

from domains.tracking.data.datasets.laying import folders_in
from domains.tracking.data.frames import PictureFrames
from domains.tracking.data.listing import frames_in
from domains.tracking.data.readers.boxes import lines_of
from domains.tracking.data.readers.vatic import read_vatic
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet
from suite.errors import InputError

FULL, USUAL = 240, 30
"""Frames a second that were filmed, and that the papers track."""


TRUNCATED = {"pingpong_2": 263}
"""Lines that count of an annotation that goes wrong after them."""


def fits(path: Path) -> bool:
    return path.is_dir() and any((own / str(fps)).is_dir() for own in folders_in(path) for fps in (USUAL, FULL))


def read(path: Path, split: str) -> SequenceSet:
    """All sequences, at 30 frames a second; `split` may be `240`.

    Raises:
        InputError: there is none, or a sequence's files are broken.
    """
    fps = FULL if split == str(FULL) else USUAL
    folders = [own for own in folders_in(path) if (own / str(fps)).is_dir()]
    if not folders:
        raise InputError(f"{path}: no {{sequence}}/{fps}/{{sequence}}/ as NFS has them")
    return SequenceSet(f"NFS {fps} fps", "nfs", [_sequence(own / str(fps), own.name, fps) for own in folders])


def _sequence(folder: Path, name: str, fps: int) -> AnnotatedSequence:
    files, annotation = frames_in(folder / name), folder / f"{name}.txt"
    every = FULL // fps
    lines = min(len(lines_of(annotation)), TRUNCATED.get(name, sys.maxsize))
    count = min(len(files), -(-lines // every))
    track = read_vatic(annotation, count, every)
    return AnnotatedSequence(name, PictureFrames(files[:count]), {"1": track}, fps=float(fps))
