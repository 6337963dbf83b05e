"""What users hand in, read as commits: mails, diffs, JSON lines of a data set, git work trees, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domains.code_review.data.commits import Commit
from domains.code_review.data.hosts.naming import is_address, is_request
from domains.code_review.data.readers.commits import read_commits
from domains.code_review.data.readers.mails import commits_in, commits_of
from domains.code_review.data.readers.records import Skipping
from domains.code_review.inference import inputs
from domains.code_review.types import ChangeQuery
from suite.errors import InputError
from suite.prediction.inputs import STDIN, exists, expanded

LISTS = (".jsonl", ".pkl")
"""Files of many commits in a data set's form."""


def sources(given: Any) -> Iterator[Any]:
    """Every input by itself; a folder that is no git work tree becomes its files."""
    for one in given:
        whole = isinstance(one, bytes) or one == STDIN or _elsewhere(one)
        if whole or Path(one).suffix in LISTS or (Path(one) / ".git").exists():
            yield one
        else:
            yield from expanded([one], (*inputs.SUFFIXES, *LISTS))


def _elsewhere(source: Any) -> bool:
    """Whether a source is on another machine."""
    return is_request(source) or (is_address(source) and not exists(source))


def stem_of(source: Any) -> str:
    """How the file of its result is named."""
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
    if _elsewhere(source):
        raise InputError("commits are read from mails, diffs and work trees alone; save its .patch and give that")
    path = Path(source)
    if not exists(path):
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        inputs.check_work_tree(path, (*inputs.SUFFIXES, *LISTS))
        return commits_in(path, query.range)
    if query.range is not None:
        raise InputError(f"{path}: is no git work tree; --range is for one")
    if path.suffix in LISTS:
        return read_commits(path, Skipping())
    try:
        return commits_of(path.read_bytes(), path.stem)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
