"""ScanObjectNN's HDF5 files: OBJ_BG, OBJ_ONLY and PB_T50_RS (`hardest`)."""

from __future__ import annotations

from pathlib import Path

from domains.point_cloud.data.datasets import stacks
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Options, hold_out
from suite.errors import InputError

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip

VARIANTS = {
    "hardest": ("main_split", "_objectdataset_augmentedrot_scale75.h5"),
    "objbg": ("main_split", "_objectdataset.h5"),
    "objonly": ("main_split_nobg", "_objectdataset.h5"),
}
"""The folder and the end of the file names of each variant."""

EXPECTED = {
    "hardest": {"train": 11416, "test": 2882},
    "objbg": {"train": 2309, "test": 581},
    "objonly": {"train": 2309, "test": 581},
}


def fits(path: Path) -> bool:
    """Whether a folder holds one of the official folders, or is one."""
    return path.is_dir() and (
        any(_folder(path, variant) for variant in VARIANTS) or any(path.glob("*_objectdataset*.h5"))
    )


def read(path: Path, split: str, options: Options) -> CloudSet:
    """One variant's split; its clouds are used as they are, not normalised.

    Raises:
        InputError: the variant is unknown or its file is not there.
    """
    if options.variant not in VARIANTS:
        raise InputError(f"unknown variant {options.variant!r} of ScanObjectNN; choose from {', '.join(VARIANTS)}")
    folder, ending = VARIANTS[options.variant]
    file = (_folder(path, options.variant) or path) / (("test" if split == "test" else "training") + ending)
    if not file.is_file():
        raise InputError(f"{path}: no {folder}/{file.name} for the variant {options.variant}; choose another --variant")
    points, labels = stacks.read_h5(file)
    protocol = f"ScanObjectNN, {options.variant}"
    whole = stacks.stacked(points, labels, CLASSES, file.name, normalise=False, protocol=protocol)
    if split in ("train", "val"):
        whole = hold_out(whole, options.val_share, options.seed)[split == "val"]
    return whole.only(options.categories)


def _folder(path: Path, variant: str) -> Path | None:
    """The variant's folder at, in or below `h5_files` of a path."""
    name = VARIANTS[variant][0]
    candidates = (path, path / name, path / "h5_files" / name)
    return next((c for c in candidates if c.name == name and c.is_dir()), None)
