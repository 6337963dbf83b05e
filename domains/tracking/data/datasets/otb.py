"""OTB-100 and OTB-50: `{sequence}/img/0001.jpg` and `groundtruth_rect.txt`, some for frames other than all."""

from __future__ import annotations

import re
from pathlib import Path

from domains.tracking.data.datasets.laying import folders_in, in_pictures
from domains.tracking.data.listing import frames_in
from domains.tracking.data.readers.boxes import read_boxes
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, from_xywh
from suite.errors import InputError

FIRST = {"David": 300, "BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18}
"""The number of the first frame that is annotated, where it is not the first."""

OMITTED = {"Tiger1": 5}
"""Frames at the beginning that the benchmark leaves out, with their boxes."""


def fits(path: Path) -> bool:
    return path.is_dir() and any(_truths(own) for own in folders_in(path))


def read(path: Path, split: str) -> SequenceSet:
    """All sequences; two objects of one folder are two sequences, `Jogging-1` and `Jogging-2`.

    The boxes' values are taken as they are, as SPMTrack takes them, though OTB counts from 1.

    Raises:
        InputError: there is none, or a sequence's files are broken.
    """
    sequences = [_sequence(own, truth) for own in folders_in(path) for truth in _truths(own)]
    if not sequences:
        raise InputError(f"{path}: no folder with img/ and groundtruth_rect.txt, as OTB has them")
    return SequenceSet("OTB", "otb", sequences)


def _truths(folder: Path) -> list[Path]:
    return sorted(folder.glob("groundtruth_rect*.txt")) if (folder / "img").is_dir() else []


def _sequence(folder: Path, truth: Path) -> AnnotatedSequence:
    boxes = from_xywh(read_boxes(truth))
    number = re.search(r"\.(\d+)\.txt$", truth.name)
    files = frames_in(folder / "img")
    first = FIRST.get(folder.name, 0)
    # By the frame's own number: a copy may lack the frames before.
    kept = [file for file in files if int(re.findall(r"\d+", file.stem)[-1]) >= first]
    omitted = OMITTED.get(folder.name, 0)
    boxes, kept = boxes[omitted:], kept[omitted:]
    if len(kept) < len(boxes):
        raise InputError(f"{folder}: {len(kept)} frames for {len(boxes)} boxes in {truth.name}; get the sequence anew")
    name = f"{folder.name}-{number[1]}" if number else folder.name
    return in_pictures(name, kept, boxes, boxes_decide=True)
