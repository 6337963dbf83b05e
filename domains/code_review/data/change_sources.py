"""Where commits come from: files, JIT-Fine's folder, made repositories, a part of one (`train.jsonl[:400]`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from domains.code_review.data import world
from domains.code_review.data.commits import Commit, marked
from domains.code_review.data.readers.commits import read_commits
from domains.code_review.data.readers.records import Skipping
from suite.errors import InputError

_SLICE = re.compile(r"(?P<path>.*)\[(?P<start>\d*):(?P<stop>\d*)\]")
_SPLITS = {"train": "train", "val": "valid", "test": "test"}
"""Of a configuration, and as the published files are called."""


def commits(source: str, split: str = "test", seed: int = 0, skip_bad: int = 0) -> Iterator[Commit]:
    """The commits that a source names.

    Args:
        split: `train`, `val` or `test`: of a folder.
        seed: of the made world. skip_bad: this many broken lines of a file are passed over.

    Raises:
        InputError: there is no such source, or a line of it is broken.
    """
    if source.startswith("world:"):
        return _made(source, seed)
    match = _SLICE.fullmatch(source)
    path, start, stop = (match["path"], match["start"], match["stop"]) if match else (source, "", "")
    found = read_commits(_file(Path(path).expanduser(), _SPLITS[split]), Skipping(skip_bad))
    return islice(found, int(start or 0), int(stop) if stop else None)


def _file(path: Path, split: str) -> Path:
    """The split's file of a folder, or the file itself."""
    if path.is_dir():
        names = (f"{split}.jsonl", f"changes_{split}.pkl")
        for name in names:
            if (path / name).is_file():
                return path / name
        raise InputError(f"data {path}: no {' or '.join(names)} there")
    if not path.exists():
        raise InputError(
            f"data {path}: no such file or folder; give a path, a part of one (path[:400]), or world:train"
        )
    return path


def _made(source: str, seed: int) -> Iterator[Commit]:
    _, split, *count = source.split(":")
    if split not in world.SPLITS or len(count) > 1 or not all(part.isdecimal() for part in count):
        raise InputError(f"data {source}: write world:SPLIT or world:SPLIT:COUNT with one of {', '.join(world.SPLITS)}")
    changes = world.changes(world.SPLITS[split], seed)
    return islice(map(_commit, changes), int(count[0]) if count else None)


def _commit(change: world.Change) -> Commit:
    """A made change as a commit, which brings in a defect where it carries a fault."""
    rows = [row for row in change.diff.split("\n") if row[:1] in ("+", "-", " ") and row[:3] not in ("+++", "---")]
    verb = "Change" if f"def {change.function.name}(" in change.before else "Add"
    return Commit(change.path, f"{verb} {change.function.name}", rows=marked(rows), defective=bool(change.fault))
