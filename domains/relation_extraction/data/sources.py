"""What a configuration may write where documents are expected: a file, a part of it, or a split of the made world.

- `redocred/train_revised.json`: every document;
- `redocred/dev_revised.json[:400]`: a slice of them, as Python counts;
- `tiny:train`: the made world (`world.SPLITS`), optionally with a count: `tiny:train:200`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from domains.relation_extraction.data import world
from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.readers import check_reading, read_documents
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_SLICE = re.compile(r"(?P<path>.*)\[(?P<start>\d*):(?P<stop>\d*)\]")


def labelled_documents(
    source: str, schema: Schema, *, format: str = "auto", encoding: str = "utf-8", seed: int = 0
) -> Iterator[Document]:
    """Yield the labelled documents that `source` names.

    Args:
        format, encoding: of a file (see `readers.read_documents`).
        seed: of the made world.

    Raises:
        InputError: there is no such file or split, or a document in it is malformed.
    """
    check_reading(format, encoding)
    if source.startswith("tiny:"):
        return iter(_made(source, seed))
    match = _SLICE.fullmatch(source)
    path, start, stop = (match["path"], match["start"], match["stop"]) if match else (source, "", "")
    if not Path(path).expanduser().exists():
        raise InputError(f"data {path}: no such file; give a path, a part of one (path[:400]), or tiny:train")
    documents = read_documents(Path(path).expanduser(), schema=schema, format=format, encoding=encoding, labelled=True)
    return _part(documents, int(start or 0), int(stop) if stop else None)


def _made(source: str, seed: int) -> Iterable[Document]:
    _, split, *count = source.split(":")
    if split not in world.SPLITS or len(count) > 1 or not all(part.isdecimal() for part in count):
        raise InputError(f"data {source}: write tiny:SPLIT or tiny:SPLIT:COUNT with one of {', '.join(world.SPLITS)}")
    return world.documents(split, seed, count=int(count[0]) if count else None)


def _part(documents: Iterator[Document], start: int, stop: int | None) -> Iterator[Document]:
    yield from islice(documents, start, stop)
