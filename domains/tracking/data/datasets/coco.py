"""COCO 2017's detections as sequences of one frame, and any file of COCO's form with videos."""

from __future__ import annotations

from pathlib import Path

from domains.tracking.data.frames import PictureFrames
from domains.tracking.data.readers.coco import read_coco
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet
from suite.errors import InputError

_FOLDERS = ("images", "frames", "JPEGImages", "data", "")


def fits(path: Path) -> bool:
    return path.suffix.lower() == ".json" or any(path.glob("annotations/instances_*.json"))


def read(path: Path, split: str) -> SequenceSet:
    """The sequences of a file, or of `annotations/instances_{split}2017.json`.

    Raises:
        InputError: there is no such file, it is broken, or no picture is where it says.
    """
    if path.is_dir():
        files = sorted(path.glob(f"annotations/instances_{split}*.json"))
        if not files:
            raise InputError(f"{path}: no annotations/instances_{split}2017.json; get that split")
        path = files[0]
    videos = read_coco(path)
    if not videos:
        raise InputError(f"{path}: holds no box that could be followed")
    for file in (file for video in videos for file in video.files):
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise InputError(f"{path}: names the picture {file!r}; give names below the folder of pictures")
    home = _home(path, videos[0].files[0])
    sequences = [
        AnnotatedSequence(video.name, PictureFrames([home / name for name in video.files]), video.tracks, fps=video.fps)
        for video in videos
    ]
    return SequenceSet(path.stem, "coco", sequences)


def _home(path: Path, file: str) -> Path:
    """The folder that the file's names start from."""
    year = path.stem.removeprefix("instances_")
    for root in (path.parent, path.parent.parent):
        for name in _FOLDERS:
            for home in (root / name / year, root / name):
                if (home / file).is_file():
                    return home
    raise InputError(
        f"{path}: no picture {file} beside it, nor in {', '.join(filter(None, _FOLDERS))}; get the pictures"
    )
