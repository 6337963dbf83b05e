"""What users hand in, read as diffs: files, folders, git work trees, standard input, saved answers of GitHub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.code_review.data.readers.pull_request import diff_of_answer, is_saved_answer
from domains.code_review.data.readers.work_tree import NewFiles, diff_of, is_work_tree, top_of
from domains.code_review.types import ReviewQuery
from suite.errors import InputError
from suite.prediction.inputs import STDIN, expanded, source_name

SUFFIXES = (".diff", ".patch")


@dataclass(frozen=True)
class Given:
    """One diff as it was handed in.

    Attributes:
        raw: its bytes.
        commit: the revision that its new files are of; empty where nothing tells.
        files: where its new files may be read; None where they are not at hand.
    """

    raw: bytes
    commit: str = ""
    files: NewFiles | None = None


def sources(given: Any) -> Iterator[Any]:
    """Every input by itself; a folder that is no git work tree becomes its diffs."""
    for one in given:
        if isinstance(one, bytes) or one == STDIN:
            yield one
        elif Path(one).is_dir() and is_work_tree(Path(one)):
            yield Path(one)
        else:
            yield from expanded([one], SUFFIXES)


def read(source: Any, query: ReviewQuery) -> Given:
    """Read a source.

    Raises:
        InputError: it cannot be read, or is asked for a range that it has not.
    """
    if isinstance(source, bytes):
        return Given(source, query.commit)
    if source == STDIN:
        return Given(_diff_in(sys.stdin.buffer.read()), query.commit, _here())
    path = Path(source)
    if path.is_dir():
        raw, commit = diff_of(path, query.range)
        return Given(raw, query.commit or commit, NewFiles(path, commit))
    if query.range is not None:
        raise InputError(f"{path}: is no git work tree; --range is for one")
    try:
        return Given(_diff_in(path.read_bytes()), query.commit, _here())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def name_of(source: Any) -> str:
    """How a source is called in results and errors."""
    return "diff" if isinstance(source, bytes) else source_name(source)


def stem_of(source: Any) -> str:
    """How the files of its result are named."""
    if isinstance(source, bytes) or source == STDIN:
        return "review"
    path = Path(source)
    name = path.resolve().name
    return name.removesuffix(path.suffix) if path.suffix in (*SUFFIXES, ".json") else name


def _diff_in(raw: bytes) -> bytes:
    """The diff itself, or that of a saved answer of GitHub's about the files of a pull request."""
    return diff_of_answer(raw) if is_saved_answer(raw) else raw


def _here() -> NewFiles | None:
    """The work tree that the command runs in: a diff is mostly of it. Its files are used only where they fit."""
    top = top_of(Path())
    return None if top is None else NewFiles(top)
