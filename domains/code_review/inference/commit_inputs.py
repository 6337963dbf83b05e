"""What users hand in, read as commits: mails, diffs, JSON lines of a data set, git work trees, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domains.code_review.data.commits import Commit
from domains.code_review.data.readers.commits import read_commits
from domains.code_review.data.readers.mails import commits_in, commits_of
from domains.code_review.data.readers.records import Skipping
from domains.code_review.inference import inputs
from domains.code_review.types import ChangeQuery
from suite.errors import InputError
from suite.prediction.inputs import STDIN, expanded

LISTS = (".jsonl", ".pkl")
"""Files of many commits in a data set's form."""


def sources(given: Any) -> Iterator[Any]:
    """Every input by itself; a folder that is no git work tree becomes its files."""
    for one in given:
        if isinstance(one, bytes) or one == STDIN or Path(one).suffix in LISTS or (Path(one) / ".git").exists():
            yield one
        else:
            yield from expanded([one], (*inputs.SUFFIXES, *LISTS))


def stem_of(source: Any) -> str:
    path = None if isinstance(source, bytes) else Path(source)
    return path.stem if path is not None and path.suffix in LISTS else inputs.stem_of(source)


def read(source: Any, query: ChangeQuery) -> Iterable[Commit]:
    """The commits of a source.

    Raises:
        InputError: it cannot be read, or is asked for a range that it has not.
    """
    if isinstance(source, bytes):
        return commits_of(source, "commit")
    if source == STDIN:
        return commits_of(sys.stdin.buffer.read(), "commit")
    path = Path(source)
    if path.is_dir():
        return commits_in(path, query.range)
    if query.range is not None:
        raise InputError(f"{path}: is no git work tree; --range is for one")
    if path.suffix in LISTS:
        return read_commits(path, Skipping())
    try:
        return commits_of(path.read_bytes(), path.stem)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
