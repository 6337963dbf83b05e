"""TrackingNet: `TRAIN_k|TEST/frames/{sequence}/0.jpg` and `anno/{sequence}.txt`; TEST has the first box alone."""

from __future__ import annotations

from pathlib import Path

from domains.tracking.data.datasets.laying import in_pictures
from domains.tracking.data.pictures import natural
from domains.tracking.data.readers.boxes import read_boxes
from domains.tracking.data.sequences import SequenceSet, from_xywh
from suite.errors import InputError


def fits(path: Path) -> bool:
    return path.is_dir() and bool(_parts(path, "train") or _parts(path, "test"))


def read(path: Path, split: str) -> SequenceSet:
    """The sequences of `TEST`, or of all parts of `TRAIN` that are there.

    Raises:
        InputError: there is no such part, or a sequence's files are broken.
    """
    parts = _parts(path, split)
    if not parts:
        wanted = "TEST" if split == "test" else "TRAIN_0 to TRAIN_11"
        raise InputError(f"{path}: TrackingNet's split {split} needs {wanted} with anno/ and frames/; get it")
    sequences = [
        in_pictures(file.stem, part / "frames" / file.stem, from_xywh(read_boxes(file)))
        for part in parts
        for file in sorted((part / "anno").glob("*.txt"), key=natural)
        if (part / "frames" / file.stem).is_dir()
    ]
    return SequenceSet(f"TrackingNet {split}", "trackingnet", sequences)


def _parts(path: Path, split: str) -> list[Path]:
    name = "TEST" if split == "test" else "TRAIN_*"
    found = [part for part in path.glob(name) if (part / "anno").is_dir() and (part / "frames").is_dir()]
    return sorted(found, key=natural)
