"""ShapeNetPart: 16 categories, 50 parts, one text file a shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from domains.point_cloud.data.datasets.cloud_set import CloudSet, Loaded, Options
from suite.errors import InputError

EXPECTED = {"trainval": 14007, "test": 2874}


_LISTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}


def fits(path: Path) -> bool:
    """Whether a folder has the list of categories and of the splits."""
    return (path / "synsetoffset2category.txt").is_file() and (path / "train_test_split").is_dir()


def read(path: Path, split: str, options: Options) -> CloudSet:
    """One of the official splits; parts have no names in the data, so they are numbered.

    Raises:
        InputError: a list is missing or damaged, or names an unknown category.
    """
    rows = [line.split() for line in (path / "synsetoffset2category.txt").read_text(encoding="utf-8").splitlines()]
    synsets = {row[1]: row[0] for row in rows if len(row) == 2}
    unknown = sorted(set(synsets.values()) - set(PARTS))
    if unknown:
        raise InputError(f"{path}: unknown categories {', '.join(unknown[:3])}; known are {', '.join(PARTS)}")
    entries = [entry for name in _LISTS[split] for entry in _listed(path, name)]
    files, labels = [], []
    for entry in entries:
        _, synset, shape = (["", "", *entry.split("/")])[-3:]
        if synset not in synsets:
            raise InputError(f"{path}: the list of {split} names {entry!r}, which is of no category")
        files.append(path / synset / f"{shape}.txt")
        labels.append(list(PARTS).index(synsets[synset]))

    def load(number: int) -> Loaded:
        return _shape(files[number])

    parts = {name: tuple(f"part {i}" for i in range(len(own))) for name, own in PARTS.items()}
    names = [str(file) for file in files]
    whole = CloudSet(tuple(PARTS), np.array(labels, dtype=np.int64), names, load, parts, protocol="the official lists")
    return whole.only(options.categories)


def _listed(path: Path, name: str) -> list[str]:
    file = path / "train_test_split" / f"shuffled_{name}_file_list.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: missing or damaged ({type(error).__name__})") from None
    return [str(entry) for entry in entries]


def _shape(file: Path) -> Loaded:
    """Columns x y z nx ny nz part."""
    try:
        table = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except OSError:
        raise InputError(f"{file}: no such file") from None
    except ValueError as error:
        raise InputError(f"{file}: not columns of numbers ({str(error).splitlines()[0]})") from error
    if table.shape[1] not in (4, 7):
        raise InputError(f"{file}: {table.shape[1]} columns; x y z (nx ny nz) part are needed")
    return table[:, :3].astype(np.float32), table[:, -1].astype(np.int64)


PARTS: dict[str, tuple[int, ...]] = {
    "Airplane": (0, 1, 2, 3),
    "Bag": (4, 5),
    "Cap": (6, 7),
    "Car": (8, 9, 10, 11),
    "Chair": (12, 13, 14, 15),
    "Earphone": (16, 17, 18),
    "Guitar": (19, 20, 21),
    "Knife": (22, 23),
    "Lamp": (24, 25, 26, 27),
    "Laptop": (28, 29),
    "Motorbike": (30, 31, 32, 33, 34, 35),
    "Mug": (36, 37),
    "Pistol": (38, 39, 40),
    "Rocket": (41, 42, 43),
    "Skateboard": (44, 45, 46),
    "Table": (47, 48, 49),
}
"""ShapeNetPart: the part ids of each category, categories in the order of their one-hot vector."""
