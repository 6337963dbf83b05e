"""LaSOT and its extension: `class/class-n/img/`, boxes and flags beside it, attributes in `att/` of the toolkit."""

from __future__ import annotations

from pathlib import Path

from domains.tracking.data.datasets.laying import flagged, folders_in, in_pictures, names_of, text_of
from domains.tracking.data.readers.boxes import read_boxes, read_flags
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, from_xywh
from suite.errors import InputError

LISTS = {"train": "training_set.txt", "test": "testing_set.txt"}

ATTRIBUTES = (
    *("illumination variation", "partial occlusion", "deformation", "motion blur", "camera motion", "rotation"),
    *("background clutter", "viewpoint change", "scale variation", "full occlusion", "fast motion", "out of view"),
    *("low resolution", "aspect ratio change"),
)
"""In the order of the columns of the evaluation toolkit's `annos/att/{sequence}.txt`."""

NEW_CLASSES = frozenset(
    (
        *("atv", "badminton", "cosplay", "dancingshoe", "footbag", "frisbee", "jianzi", "lantern"),
        *("misc", "opossum", "paddle", "raccoon", "rhino", "skatingshoe", "wingsuit"),
    )
)
"""Those of the extension."""


def fits(path: Path) -> bool:
    return _first(path) is not None


def read(path: Path, split: str) -> SequenceSet:
    """The sequences of a split; the extension, told by its classes, has one split and counts from 0.

    Raises:
        InputError: there is none, or a sequence's files are broken.
    """
    first = _first(path)
    if first is None:
        raise InputError(f"{path}: no class/class-1/img with groundtruth.txt beside it, as LaSOT has them")
    extension = first.parent.name in NEW_CLASSES or "ext" in path.name.lower()
    if extension:
        folders = [own for group in folders_in(path) for own in folders_in(group) if (own / "img").is_dir()]
        sequences = [_sequence(folder, origin=0) for folder in folders]
        return SequenceSet("LaSOT extension", "lasot_extension", sequences)
    listed = path / LISTS.get(split, LISTS["test"])
    if listed.is_file():
        folders = [path / name.rpartition("-")[0] / name for name in names_of(listed)]
        missing = [folder for folder in folders if not folder.is_dir()]
        if len(missing) == len(folders):
            raise InputError(f"{listed}: none of its sequences is there, e.g. {folders[0]}")
        notices = tuple(
            f"{len(missing)} of {len(folders)} sequences are not there, e.g. {missing[0]}" for _ in missing[:1]
        )
        folders = [folder for folder in folders if folder.is_dir()]
    else:
        folders = [own for group in folders_in(path) for own in folders_in(group) if (own / "img").is_dir()]
        notices = (f"{path}: no {listed.name}, so all {len(folders)} sequences are taken",)
    return SequenceSet(f"LaSOT {split}", "lasot", [_sequence(folder, origin=1) for folder in folders], notices)


def _first(path: Path) -> Path | None:
    """The first sequence that is laid out so."""
    if not path.is_dir():
        return None
    found = (own for group in folders_in(path) for own in folders_in(group) if (own / "img").is_dir())
    return next((own for own in found if (own / "groundtruth.txt").is_file()), None)


def _sequence(folder: Path, origin: int) -> AnnotatedSequence:
    boxes = from_xywh(read_boxes(folder / "groundtruth.txt"), origin)
    present = None
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        if (folder / name).is_file():
            flags = ~read_flags(folder / name)
            present = flags if present is None else present & flags
    # Of one sequence fewer frames are annotated than there are.
    return in_pictures(
        folder.name,
        folder / "img",
        boxes,
        present,
        boxes_decide=True,
        attributes=flagged(folder.parent.parent / "att" / f"{folder.name}.txt", ATTRIBUTES),
        kind=folder.parent.name,
        text=text_of(folder / "nlp.txt"),
    )
