"""What users hold: folders of frames with `groundtruth.txt`, videos with a text file of boxes, MOT's sequences."""

from __future__ import annotations

import configparser
from pathlib import Path

from domains.tracking.data.datasets import vot
from domains.tracking.data.datasets.laying import folders_in
from domains.tracking.data.frames import PictureFrames, VideoFrames
from domains.tracking.data.listing import frames_in
from domains.tracking.data.readers.boxes import PolygonRule, read_boxes
from domains.tracking.data.readers.mot import read_mot
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, Track, from_xywh
from suite.errors import InputError
from suite.media.video import SUFFIXES


def fits(path: Path) -> bool:
    return bool(_parts(path)) or any(
        _is_sequence(own) or _videos(own) for own in (folders_in(path) if path.is_dir() else ())
    )


def read(path: Path, split: str, polygons: PolygonRule = "area") -> SequenceSet:
    """A sequence, or every one in a folder, or in its folder of the split's name.

    Raises:
        InputError: there is none, or one's files are broken.
    """
    home = path / split if path.is_dir() and (path / split).is_dir() else path
    sequences = _parts(home, polygons)
    if not sequences:
        sequences = [one for own in folders_in(home) for one in _parts(own, polygons)]
    if not sequences:
        raise InputError(
            f"{path}: no folder of frames with groundtruth.txt, and no video with boxes in a .txt beside it"
        )
    return SequenceSet(path.name, "own", sequences)


def _is_sequence(folder: Path) -> bool:
    return (folder / "groundtruth.txt").is_file() or (folder / "gt" / "gt.txt").is_file()


def _videos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return [path for path in videos if path.with_suffix(".txt").is_file()]


def _parts(path: Path, polygons: PolygonRule = "area") -> list[AnnotatedSequence]:
    """The sequences that a path itself is."""
    if path.is_file() and path.suffix.lower() in SUFFIXES and path.with_suffix(".txt").is_file():
        return [_of_video(path)]
    if not path.is_dir():
        return []
    if (path / "gt" / "gt.txt").is_file():
        return [_of_mot(path)]
    if (path / "groundtruth.txt").is_file():
        return [vot.sequence(path, polygons)]
    found = [_of_video(video) for video in _videos(path)]
    return found or [one for own in folders_in(path) if _is_sequence(own) for one in _parts(own, polygons)]


def _of_video(path: Path) -> AnnotatedSequence:
    boxes = from_xywh(read_boxes(path.with_suffix(".txt")))
    return AnnotatedSequence(path.stem, VideoFrames(path), {"1": Track.of(boxes)})


def _of_mot(folder: Path) -> AnnotatedSequence:
    files = frames_in(folder / "img1")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(folder / "seqinfo.ini", encoding="utf-8")
    fps = parser.getfloat("Sequence", "frameRate", fallback=None)
    tracks = read_mot(folder / "gt" / "gt.txt", len(files))
    return AnnotatedSequence(folder.name, PictureFrames(files), tracks, fps=fps)
