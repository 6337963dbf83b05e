"""A user's own clouds: `folder/<split>/<class>/*`, `folder/<class>/*`, or a table of paths and labels.

For segmentation each cloud carries its parts in a field (see `PART_FIELDS`, or the last column of a text file or
array), counted from 0 within its category, -1 for none; `parts.json` beside the class folders, `{category: [names]}`,
names them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from domains.point_cloud.data import clouds
from domains.point_cloud.data.channels import values_of
from domains.point_cloud.data.datasets.cloud_set import NO_PART, SPLITS, CloudSet, Loaded, Options, hold_out, part_ids
from domains.point_cloud.data.readers import formats
from suite.errors import InputError
from suite.files import read_json

PART_FIELDS = ("part", "parts", "label", "labels", "class", "classification", "scalar_label", "seg")
"""Fields of a cloud that may hold the part of each point, in order of preference."""

NEVER_CLASSIFIED = (0, 1)
"""What LAS calls points that nobody has classified (ASPRS LAS 1.4-R15, table 9)."""

PREPARED = frozenset({"column3", "column4", "column5", "column6"})
"""Unnamed columns of prepared rooms (x y z r g b class) and of ShapeNetPart's shapes (x y z nx ny nz part)."""

TABLE_PATHS, TABLE_LABELS = ("path", "file", "filename", "cloud"), ("label", "class", "category")


def is_folder(path: Path) -> bool:
    """Whether a folder holds clouds in folders named for their class, perhaps below folders named for a split."""
    return path.is_dir() and any(_files(child) for top in _tops(path) for child in _folders(top))


def is_table(path: Path) -> bool:
    """Whether a CSV file names clouds and labels in its header."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = [word.strip().lower() for word in next(csv.reader(stream), [])]
    return bool(set(header) & set(TABLE_PATHS))


def read_folder(path: Path, split: str, options: Options) -> CloudSet:
    """Read clouds whose class is the name of their folder.

    Without split folders, a fifth of each class is `test` and `val_share` of the rest is `val`, drawn with the seed.

    Raises:
        InputError: there is no cloud, or the split's folder is missing.
    """
    given = {folder.name: folder for folder in _folders(path) if folder.name in SPLITS}
    tops = list(given.values()) or [path]
    classes = sorted({folder.name for top in tops for folder in _folders(top) if _files(folder)})
    if not classes:
        raise InputError(f"{path}: no clouds in folders named for their class (read: {' '.join(formats.READERS)})")
    if not given:
        return _split(_listed(path, classes, [path], options), split, options)
    wanted = {"trainval": ("train", "val"), "val": ("val",) if "val" in given else ("train",)}.get(split, (split,))
    present = [given[name] for name in wanted if name in given]
    if not present:
        raise InputError(f"{path}: no folder {wanted[0]}; it has {', '.join(sorted(given))}")
    found = _listed(path, classes, present, options)
    if "val" in given or split not in ("train", "val"):
        return found.only(options.categories)
    return hold_out(found, options.val_share, options.seed)[split == "val"].only(options.categories)


def read_table(path: Path, split: str, options: Options) -> CloudSet:
    """Read a CSV file with columns `path,label` and perhaps `split`; paths are relative to the file's folder.

    Raises:
        InputError: a column is missing, a file does not exist, or no row is of the split.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [
            {(k or "").strip().lower(): (v or "").strip() for k, v in row.items()} for row in csv.DictReader(stream)
        ]
    if not rows:
        raise InputError(f"{path}: the table has no row")
    where = next((name for name in TABLE_PATHS if name in rows[0]), None)
    label = next((name for name in TABLE_LABELS if name in rows[0]), None)
    if where is None or label is None:
        raise InputError(f"{path}: columns path and label are needed, found {', '.join(rows[0])}")
    classes = sorted({row[label] for row in rows})
    for number, row in enumerate(rows, start=2):
        if not (path.parent / row[where]).is_file():
            raise InputError(f"{path}, line {number}: no such file {row[where]}")
        if not row[label]:
            raise InputError(f"{path}, line {number}: no label")
    files = [path.parent / row[where] for row in rows]
    whole = _set(
        files,
        classes,
        [classes.index(row[label]) for row in rows],
        options,
        "rows of the table",
        _part_names(path.parent),
    )
    splits = [row.get("split", "") for row in rows]
    if not any(splits):
        return _split(whole, split, options)
    if "val" not in splits and split in ("train", "val"):
        kept = whole.take(np.array([i for i, name in enumerate(splits) if name == "train"], dtype=np.int64))
        return hold_out(kept, options.val_share, options.seed)[split == "val"].only(options.categories)
    wanted = ("train", "val") if split == "trainval" else (split,)
    index = [i for i, name in enumerate(splits) if name in wanted]
    if not index:
        raise InputError(f"{path}: no row of split {split!r}; its splits are {', '.join(sorted(set(splits)))}")
    return whole.take(np.array(index)).only(options.categories)


def _split(whole: CloudSet, split: str, options: Options) -> CloudSet:
    trainval, test = hold_out(whole, 0.2, options.seed)
    if split in ("test", "trainval"):
        return (test if split == "test" else trainval).only(options.categories)
    return hold_out(trainval, options.val_share, options.seed)[split == "val"].only(options.categories)


def _listed(root: Path, classes: list[str], tops: Sequence[Path], options: Options) -> CloudSet:
    files = [(file, folder.name) for top in tops for folder in _folders(top) for file in _files(folder)]
    labels = [classes.index(name) for _, name in files]
    return _set([file for file, _ in files], classes, labels, options, f"folders of {root.name}", _part_names(root))


def _set(
    files: Sequence[Path],
    classes: Sequence[str],
    labels: Sequence[int],
    options: Options,
    protocol: str,
    named: Mapping[str, Sequence[str]],
) -> CloudSet:
    def load(number: int) -> Loaded:
        cloud = clouds.read(files[number], samples=options.samples, seed=options.seed, up=options.up)
        points = cloud.points.astype(np.float32)
        if options.inputs:
            points = np.concatenate([points, values_of(cloud.fields, options.inputs, options.up)], 1)
        return points, parts_of(cloud)

    names = [str(file) for file in files]
    found = CloudSet(tuple(classes), np.array(labels, dtype=np.int64), names, load, protocol=protocol)
    return _with_parts(found, named) if options.parts else found


def _with_parts(clouds_: CloudSet, named: Mapping[str, Sequence[str]]) -> CloudSet:
    """The set with the parts of its categories; their number is the largest label found where no file names them."""
    sizes = dict.fromkeys(clouds_.classes, 1)
    for number, label in enumerate(clouds_.labels):
        own = clouds_.load(number)[1]
        if own is None:
            raise InputError(
                f"{clouds_.names[number]}: no part of each point (a field {', '.join(PART_FIELDS[:4])}; "
                "a scan's classification counts where anybody has classified it)"
            )
        category = clouds_.classes[label]
        known = len(named[category]) if category in named else own.max() + 1
        if not (own != NO_PART).any():
            raise InputError(f"{clouds_.names[number]}: every point is labelled {NO_PART}, which means no part")
        if own.min() < NO_PART or own.max() >= known:
            raise InputError(
                f"{clouds_.names[number]}: part {own.max()}, and {category} has {known} parts in parts.json"
            )
        sizes[category] = max(sizes[category], int(known))
    parts = {
        name: tuple(named.get(name, [f"part {number}" for number in range(count)])) for name, count in sizes.items()
    }
    first = part_ids(parts)

    def load(number: int) -> Loaded:
        points, own = clouds_.load(number)
        assert own is not None
        offset = first[clouds_.classes[clouds_.labels[number]]][0]
        return points, np.where(own == NO_PART, NO_PART, own + offset)

    return replace(clouds_, parts=parts, load=load)


def _part_names(folder: Path) -> Mapping[str, Sequence[str]]:
    """What `parts.json` in a folder says.

    Raises:
        InputError: it is damaged or holds something else.
    """
    file = folder / "parts.json"
    if not file.is_file():
        return {}
    named = read_json(file)
    if not all(isinstance(own, list) and own for own in named.values()):
        raise InputError(f"{file}: {{category: [names of its parts]}} was expected")
    return {str(name): [str(part) for part in own] for name, own in named.items()}


def parts_of(cloud: clouds.Cloud) -> np.ndarray | None:
    """The part of each point: a field of whole numbers under a name that says so, or the last unnamed column."""
    known = labelling_fields(cloud)
    columns = [name for name in known if name.startswith("column")]
    for name in (*PART_FIELDS, *columns[-1:]):
        values = known.get(name)
        if values is not None and values.ndim == 1 and np.array_equal(values, np.round(values)):
            return values.astype(np.int64)
    return None


def labelling_fields(cloud: clouds.Cloud) -> dict[str, np.ndarray]:
    """Fields of a cloud by their names in lower case, without a classification that says that there is none."""
    known = {name.lower(): values for name, values in cloud.fields.items()}
    las = Path(cloud.source).suffix.lower() in (".las", ".laz")
    if las and set(np.unique(known.get("classification", ()))) <= set(NEVER_CLASSIFIED):
        known.pop("classification", None)
    return known


def _tops(path: Path) -> list[Path]:
    return [folder for folder in _folders(path) if folder.name in SPLITS] or [path]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix.lower() in formats.READERS)
