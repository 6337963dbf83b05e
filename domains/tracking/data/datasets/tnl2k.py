"""TNL2K: `{sequence}/imgs/`, `groundtruth.txt` and `language.txt`."""

from __future__ import annotations

from pathlib import Path

from domains.tracking.data.datasets.laying import folders_in, in_pictures, text_of
from domains.tracking.data.readers.boxes import read_boxes
from domains.tracking.data.sequences import SequenceSet, from_xywh
from suite.errors import InputError


def fits(path: Path) -> bool:
    return bool(_folders(path))


def read(path: Path, split: str) -> SequenceSet:
    """All sequences of a folder, or of `train/` and `test/` (or `TNL2K_train_subset` and so on) in it.

    Raises:
        InputError: there is none, or a sequence's files are broken.
    """
    homes = [home for home in folders_in(path) if split in home.name.lower() and _folders(home)] or [path]
    folders = [folder for home in homes for folder in _folders(home)]
    if not folders:
        raise InputError(f"{path}: no folder with imgs/ and groundtruth.txt, as TNL2K has them")
    sequences = [
        in_pictures(
            folder.name,
            folder / "imgs",
            from_xywh(read_boxes(folder / "groundtruth.txt")),
            text=text_of(folder / "language.txt"),
        )
        for folder in folders
    ]
    return SequenceSet(f"TNL2K {split}", "tnl2k", sequences)


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    direct = [own for own in folders_in(path) if (own / "imgs").is_dir() and (own / "groundtruth.txt").is_file()]
    return direct or [
        own
        for home in folders_in(path)
        for own in folders_in(home)
        if (own / "imgs").is_dir() and (own / "groundtruth.txt").is_file()
    ]
