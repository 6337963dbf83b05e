"""GOT-10k: `train|val|test/` with `list.txt` and a folder a sequence; boxes from 0, the test split's of one frame."""

from __future__ import annotations

import configparser
from pathlib import Path

import numpy as np

from domains.tracking.data.datasets.laying import in_pictures, names_of
from domains.tracking.data.listing import frames_in
from domains.tracking.data.readers.boxes import read_boxes, read_flags, read_integers
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, from_xywh
from suite.errors import InputError
from suite.files import read_text


def fits(path: Path) -> bool:
    return any((path / split / "list.txt").is_file() for split in ("train", "val", "test")) or (
        (path / "list.txt").is_file() and any(path.glob("GOT-10k_*"))
    )


def read(path: Path, split: str) -> SequenceSet:
    """The sequences of a split; of `train` those whose numbers `got10k_vot_train_split.txt`, where it is there, lists.

    Raises:
        InputError: there is no such split, or a sequence's files are broken.
    """
    home = path / split if (path / split / "list.txt").is_file() else path
    if not (home / "list.txt").is_file():
        raise InputError(f"{path}: GOT-10k's split {split} has no {split}/list.txt; get that split")
    names = names_of(home / "list.txt")
    notices: tuple[str, ...] = ()
    chosen = path / "got10k_vot_train_split.txt"
    if split == "train" and chosen.is_file():
        places = read_integers(chosen)
        if len(places) and not 0 <= places.min() <= places.max() < len(names):
            raise InputError(f"{chosen}: names sequence {int(places.max())} of {len(names)}; they count from 0")
        names = [names[place] for place in places]
        notices = (f"got10k_vot_train_split.txt: {len(names)} sequences, those that no VOT test set has",)
    return SequenceSet(f"GOT-10k {split}", "got10k", [_sequence(home / name) for name in names], notices)


def _sequence(folder: Path) -> AnnotatedSequence:
    boxes = from_xywh(read_boxes(folder / "groundtruth.txt"))
    files = [file for file in frames_in(folder) if file.stem.isdecimal()]
    present = covered = None
    if (folder / "absence.label").is_file():
        present = ~read_flags(folder / "absence.label")
    if (folder / "cover.label").is_file():
        # Shares of the object in sight, 0 to 8: hidden as a whole, to fully there.
        covered = read_integers(folder / "cover.label") == 0
    said = _said(folder / "meta_info.ini")
    if len(boxes) == 1:
        present = covered = None
    return in_pictures(
        folder.name,
        files,
        boxes,
        None if present is None else present & ~(np.zeros(len(boxes), bool) if covered is None else covered),
        covered=covered,
        kind=said.get("object_class", ""),
        fps=_number(said.get("anno_fps", "")),
    )


def _said(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, encoding=None))
        return dict(parser["METAINFO"]) if parser.has_section("METAINFO") else {}
    except configparser.Error as error:
        raise InputError(f"{path}: no settings file ({str(error).splitlines()[0]})") from error


def _number(text: str) -> float | None:
    digits = text.lower().removesuffix("hz").removesuffix("fps").strip()
    return float(digits) if digits.replace(".", "", 1).isdecimal() else None
