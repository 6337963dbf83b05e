"""S3DIS: rooms with a class a point, cut into blocks; area 5 is the test split.

Rooms are the official text files or prepared arrays (n, 7) of x y z r g b label, `Area_k_room.npy`. They are cut
as `data.blocks` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data import blocks
from domains.point_cloud.data.channels import GROUPS, values_of
from domains.point_cloud.data.datasets import scenes
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Options
from suite.errors import InputError

CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board",
    "clutter",
)  # fmt: skip

TEST_AREA = "5"


def fits(path: Path) -> bool:
    """Whether a folder has rooms in areas."""
    return path.is_dir() and (any(path.glob("Area_*/*/Annotations")) or any(path.glob("Area_*.npy")))


def read(path: Path, split: str, options: Options) -> CloudSet:
    """Blocks of the rooms of a split; `val` is every tenth training room.

    Raises:
        InputError: the split has no rooms, or one cannot be read.
    """
    rooms = [room for room in _rooms(path) if (_area(room) == TEST_AREA) == (split == "test")]
    if split in ("train", "val"):
        held = set(rooms[:: max(2, round(1 / options.val_share))]) if options.val_share else set()
        rooms = [room for room in rooms if (room in held) == (split == "val")]
    if not rooms:
        raise InputError(f"{path}: no room of the split {split}; area {TEST_AREA} is test, the others train and val")
    protocol = f"area {TEST_AREA} is the test split"
    side = options.block or blocks.SIDE
    load = partial(_room, inputs=options.inputs)
    return scenes.cut(rooms, load, path, classes=CLASSES, side=side, protocol=protocol)


def _rooms(path: Path) -> list[Path]:
    return sorted(path.glob("Area_*.npy")) or sorted(folder.parent for folder in path.glob("Area_*/*/Annotations"))


def _area(room: Path) -> str:
    found = re.search(r"Area_(\d)", str(room))
    return found[1] if found else ""


def _room(room: Path, inputs: Sequence[str]) -> scenes.Scene:
    table = _prepared(room) if room.suffix == ".npy" else _annotated(room)
    points, labels = table[:, :3], table[:, 6].astype(np.int64)
    if inputs:
        colours = dict(zip(GROUPS["colour"], table[:, 3:6].T, strict=True))
        points = np.concatenate([points, values_of(colours, inputs, "z")], 1)
    return points, labels


def _prepared(room: Path) -> NDArray[np.float32]:
    try:
        table = np.load(room, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{room}: damaged ({error})") from error
    if table.ndim != 2 or table.shape[1] != 7:
        raise InputError(f"{room}: an array n x 7 (x y z r g b label) is needed, found {table.shape}")
    return table


def _annotated(room: Path) -> NDArray[np.float32]:
    pieces = []
    for file in sorted((room / "Annotations").glob("*.txt")):
        name = file.stem.rpartition("_")[0]
        label = CLASSES.index(name) if name in CLASSES else CLASSES.index("clutter")
        # Two of the official files hold a stray control character within a number.
        text = re.sub(r"[^0-9eE+\-.\s]", "", file.read_text(encoding="utf-8", errors="replace"))
        values = np.array(text.split(), dtype=np.float32)
        if len(values) % 6:
            raise InputError(f"{file}: {len(values)} numbers are no rows of x y z r g b")
        table = values.reshape(-1, 6)
        pieces.append(np.concatenate([table, np.full((len(table), 1), label, dtype=np.float32)], 1))
    if not pieces:
        raise InputError(f"{room}: no Annotations/<class>_<n>.txt")
    return np.concatenate(pieces)
