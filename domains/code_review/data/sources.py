"""What a configuration may write where cases are expected.

- `msg-train.jsonl`: a file of CodeReviewer's release, or one of the same form (`suite code_review mine` writes such);
- `code-to-comment/train.tsv`: a file of Tufano et al.'s;
- `CodeReviewer/`: the folder of the release, of which the task's files of the split are read;
- `msg-train.jsonl[:400]`: a slice, as Python counts;
- `world:train`: made repositories, optionally with a count: `world:train:200`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from domains.code_review.data import world
from domains.code_review.data.examples import Example
from domains.code_review.data.readers.crer import files_of, read_crer
from domains.code_review.data.readers.records import Skipping
from domains.code_review.data.readers.tufano import read_tufano
from domains.code_review.model.wording import Task
from suite.errors import InputError

_SLICE = re.compile(r"(?P<path>.*)\[(?P<start>\d*):(?P<stop>\d*)\]")
_SPLITS = {"train": "train", "val": "valid", "test": "test"}
"""Of a configuration, and as CodeReviewer's files are called."""


def examples(source: str, task: Task, split: str = "test", seed: int = 0, skip_bad: int = 0) -> Iterator[Example]:
    """The cases of a task that a source names.

    Args:
        split: `train`, `val` or `test`: of a release's folder.
        seed: of the made world.
        skip_bad: this many broken lines of a file are passed over.

    Raises:
        InputError: there is no such source, or a line of it is broken.
    """
    if source.startswith("world:"):
        return _made(source, task, seed)
    match = _SLICE.fullmatch(source)
    path, start, stop = (match["path"], match["start"], match["stop"]) if match else (source, "", "")
    found = _read(Path(path).expanduser(), task, split, Skipping(skip_bad))
    return islice(found, int(start or 0), int(stop) if stop else None)


def _made(source: str, task: Task, seed: int) -> Iterator[Example]:
    _, split, *count = source.split(":")
    if split not in world.SPLITS or len(count) > 1 or not all(part.isdecimal() for part in count):
        names = ", ".join(world.SPLITS)
        raise InputError(f"data {source}: write world:SPLIT or world:SPLIT:COUNT with one of {names}")
    return islice(world.examples(world.SPLITS[split], task, seed), int(count[0]) if count else None)


def _read(path: Path, task: Task, split: str, skipping: Skipping) -> Iterator[Example]:
    if not path.exists():
        raise InputError(
            f"data {path}: no such file or folder; give a path, a part of one (path[:400]), or world:train"
        )
    files: Iterable[Path] = files_of(path, task, _SPLITS[split]) if path.is_dir() else [path]
    return chain.from_iterable(_reader(file)(file, task, skipping) for file in files)


def _reader(file: Path):  # type: ignore[no-untyped-def]
    return read_tufano if file.suffix == ".tsv" else read_crer
