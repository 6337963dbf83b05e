"""VOT's sequences: frames and `groundtruth.txt` in one folder (or `color/`), polygons or boxes, tags of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.tracking.data.datasets.laying import folders_in, in_pictures, names_of
from domains.tracking.data.listing import frames_in
from domains.tracking.data.readers.boxes import PolygonRule, read_boxes
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, from_xywh
from suite.errors import InputError


def fits(path: Path) -> bool:
    return (path / "list.txt").is_file() and any((own / "groundtruth.txt").is_file() for own in folders_in(path))


def read(path: Path, split: str, polygons: PolygonRule = "area") -> SequenceSet:
    """All sequences of `list.txt`.

    Raises:
        InputError: a sequence is missing, or its files are broken.
    """
    sequences = [sequence(path / name, polygons) for name in names_of(path / "list.txt")]
    return SequenceSet("VOT", "vot", sequences)


def sequence(folder: Path, polygons: PolygonRule = "area") -> AnnotatedSequence:
    """One sequence; its tags (`occlusion.tag`, `camera_motion.tag`, ...) are its attributes.

    Raises:
        InputError: it is not there, or its files are broken.
    """
    if not (folder / "groundtruth.txt").is_file():
        raise InputError(f"{folder}: no groundtruth.txt; get the sequence, or take its name out of list.txt")
    boxes = from_xywh(read_boxes(folder / "groundtruth.txt", polygons=polygons))
    frames = next((folder / name for name in ("color", "img") if (folder / name).is_dir()), folder)
    tags = tuple(
        tag.stem.replace("_", " ")
        for tag in sorted(folder.glob("*.tag"))
        if np.any(np.array([line == "1" for line in tag.read_text(encoding="utf-8").split()]))
    )
    return in_pictures(folder.name, frames_in(frames), boxes, attributes=tags)
