"""The verb `inspect`: what is in a data set, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from domains.point_cloud.data import clouds
from domains.point_cloud.data.datasets import modelnet, scanobjectnn, shapenetpart, unpickling
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Options, Split
from domains.point_cloud.data.readers import formats
from domains.point_cloud.data.sources import is_benchmark, named_split, open_set, split_of
from suite.errors import InputError


@dataclass
class SplitReport:
    """One split.

    Attributes:
        classes: clouds of each class. parts: points of each part id.
        points: fewest, median and most points of a cloud.
        low, high: corners of the box around all clouds. radius: smallest and largest.
        few: clouds with too few distinct points. duplicates: clouds with the very points of an earlier one.
        broken: why a cloud cannot be read, by its name.
    """

    classes: dict[str, int] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)
    points: tuple[int, int, int] = (0, 0, 0)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    radius: tuple[float, float] = (0.0, 0.0)
    few: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    protocol: str = ""
    expected: int | None = None


@dataclass
class DataReport:
    """All splits that were looked at."""

    data: str
    splits: dict[str, SplitReport] = field(default_factory=dict)

    @property
    def broken(self) -> dict[str, str]:
        """Clouds that cannot be read, with the reason."""
        return {name: why for one in self.splits.values() for name, why in one.broken.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {"data": self.data, "splits": {name: vars(one) for name, one in self.splits.items()}}

    def __str__(self) -> str:
        return "\n".join(line for name, one in self.splits.items() for line in _lines(name, one))


def inspect(
    data: str,
    *,
    split: Literal["train", "val", "test", "trainval", "all"] = "all",
    format: str = "auto",
    variant: Literal["hardest", "objbg", "objonly"] = "hardest",
    points: int = 64,
    most: int = 0,
    convert: Path | None = None,
) -> dict[str, Any]:
    """Count classes and points of labelled clouds, find duplicates and broken files.

    Args:
        data: `PATH[:SPLIT]` of any known layout, a folder of clouds without labels, or `shapes:SPLIT[:COUNT]`.
        split: which one; `all` looks at train, val and test.
        format: of the data; `auto` finds it.
        variant: of ScanObjectNN: hardest (PB_T50_RS), objbg or objonly.
        points: clouds with fewer distinct points are reported.
        most: read at most this many clouds of a split, evenly spread; 0 reads all.
        convert: for a pickled cache (.dat): write it as this .npz, which no code can hide in.
    """
    if convert is not None:
        if not Path(data).is_file():
            raise InputError(f"{data}: no file; --convert takes one pickled cache (.dat)")
        written = unpickling.to_npz(Path(data), convert)
        return {"converted": str(written), "message": f"converted  {written}"}
    report = check(data, split, format=format, variant=variant, points=points, most=most)
    return {**report.to_dict(), "message": str(report), "exit_code": 2 if report.broken else 0}


def check(
    data: str, split: str = "all", *, format: str = "auto", variant: str = "hardest", points: int = 64, most: int = 0
) -> DataReport:
    """Look at every cloud of a split, or of all of them; a cloud that cannot be read is noted, not raised.

    Raises:
        InputError: the data are in no known layout.
    """
    if most < 0 or points < 0:
        raise InputError(f"most {most} or points {points}: give 0 or more")
    report, options = DataReport(data), Options(variant=variant)
    named = named_split(data)
    if named and split not in ("all", named):
        raise InputError(f"{data} names the split {named}, --split {split}; leave one of them out")
    wanted = [named] if named else [split] if split != "all" else ["train", "val", "test"]
    path = Path(split_of(data)[0]).expanduser()
    loose = _loose(path)
    if loose:
        if split != "all" or named:
            raise InputError(f"{path}: clouds without labels have no splits; leave {named or '--split'} out")
        report.splits["files"] = _loose_report(loose, points, most)
        return report
    errors: list[InputError] = []
    for one in wanted:
        try:
            found = open_set(data, options, format=format, split=_as_split(one))
        except InputError as error:
            errors.append(error)
            continue
        report.splits[one] = _split_report(found, points, most)
    if not report.splits:
        raise errors[0]
    if {"train", "val"} <= report.splits.keys() and not most:
        _expect(report, variant)
    return report


def _as_split(name: str) -> Split:
    for split in get_args(Split):
        if split == name:
            return split
    raise InputError(f"no split {name!r}; there is {', '.join(get_args(Split))}")


def _loose(path: Path) -> list[Path]:
    """Clouds that lie in a folder without folders of classes, or one single file of a cloud."""
    if path.is_dir() and not any(child.is_dir() for child in path.iterdir()) and not is_benchmark(path):
        return sorted(f for f in path.iterdir() if f.suffix.lower() in formats.READERS and not _is_list(f))
    return [path] if path.is_file() and path.suffix.lower() in set(formats.READERS) - {".h5", ".csv"} else []


def _is_list(path: Path) -> bool:
    return path.name.startswith("modelnet") or path.name.startswith("ply_data_") or "objectdataset" in path.name


def _loose_report(files: list[Path], points: int, most: int) -> SplitReport:
    def load(number: int) -> tuple[np.ndarray, None]:
        return clouds.read(files[number], samples=4096).points, None

    labels = np.zeros(len(files), dtype=np.int64)
    found = CloudSet(("unlabelled",), labels, [str(file) for file in files], load, protocol="files without labels")
    return _split_report(found, points, most)


def _split_report(found: CloudSet, points: int, most: int) -> SplitReport:
    numbers = range(len(found)) if not most else np.unique(np.linspace(0, len(found) - 1, most).astype(int))
    counts = np.bincount(found.labels, minlength=len(found.classes))
    report = SplitReport(
        classes={name: int(count) for name, count in zip(found.classes, counts, strict=True)}, protocol=found.protocol
    )
    seen: dict[bytes, str] = {}
    sizes, radii, lows, highs = [], [], [], []
    parts: Counter[int] = Counter()
    for number in numbers:
        name = found.names[int(number)]
        try:
            loaded, own = found.load(int(number))
        except InputError as error:
            report.broken[name] = str(error).removeprefix(f"{name}: ")
            continue
        digest = hashlib.sha256(np.ascontiguousarray(loaded).tobytes()).digest()
        if digest in seen:
            report.duplicates.append(f"{name} = {seen[digest]}")
        seen.setdefault(digest, name)
        if len(np.unique(loaded, axis=0)) < points:
            report.few.append(name)
        sizes.append(len(loaded))
        radii.append(float(np.linalg.norm(loaded - loaded.mean(0), axis=1).max()))
        lows.append(loaded.min(0))
        highs.append(loaded.max(0))
        if own is not None:
            parts.update(dict(zip(*(v.tolist() for v in np.unique(own, return_counts=True)), strict=True)))
    if sizes:
        report.points = min(sizes), int(np.median(sizes)), max(sizes)
        report.low, report.high = (tuple(map(float, v)) for v in (np.min(lows, 0), np.max(highs, 0)))
        report.radius = min(radii), max(radii)
    report.parts = dict(sorted(parts.items()))
    return report


def _expect(report: DataReport, variant: str) -> None:
    """Note the number of clouds that the benchmark's split should have."""
    sizes = {name: sum(one.classes.values()) for name, one in report.splits.items()}
    classes = next(iter(report.splits.values())).classes
    train = sizes.get("train", 0) + sizes.get("val", 0)
    known = {
        "modelnet": (len(classes) == 40, modelnet.EXPECTED),
        "scanobjectnn": (tuple(classes) == scanobjectnn.CLASSES, scanobjectnn.EXPECTED[variant]),
        "shapenetpart": (
            len(classes) == 16 and bool(report.splits["train"].parts),
            {"train": shapenetpart.EXPECTED["trainval"], "test": shapenetpart.EXPECTED["test"]},
        ),
    }
    for fits, expected in known.values():
        if fits:
            report.splits["train"].expected = expected["train"] - (train - sizes["train"])
            if "test" in report.splits:
                report.splits["test"].expected = expected["test"]


def _lines(name: str, one: SplitReport) -> list[str]:
    total = sum(one.classes.values())
    least, middle, most = one.points
    wanted = f", {one.expected} expected" if one.expected not in (None, total) else ""
    lines = [
        f"{name}: {total} clouds in {sum(map(bool, one.classes.values()))} classes{wanted} ({one.protocol})",
        "  " + ", ".join(f"{label} {count}" for label, count in one.classes.items()),
    ]
    if one.low:  # else none could be read
        lines.append(f"  points {least} to {most} (median {middle}), radius {one.radius[0]:.4g} to {one.radius[1]:.4g}")
        box = " x ".join(f"[{low:.4g}, {high:.4g}]" for low, high in zip(one.low, one.high, strict=True))
        lines.append(f"  box {box}")
    if one.parts:
        lines.append("  parts " + ", ".join(f"{number}: {count}" for number, count in one.parts.items()))
    lines += [f"  few distinct points: {cloud}" for cloud in one.few]
    lines += [f"  duplicate: {pair}" for pair in one.duplicates]
    return [*lines, *(f"  broken: {cloud}: {why}" for cloud, why in one.broken.items())]
