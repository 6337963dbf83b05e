"""What users hand in, read as diffs: files, folders, git work trees, standard input, pull requests, saved answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.code_review.data.pull_requests import PulledFiles, named_pull_request, read_pull_request
from domains.code_review.data.readers.crer import diff_of_cases
from domains.code_review.data.readers.pull_request import diff_of_answer, is_saved_answer
from domains.code_review.data.readers.work_tree import (
    NewFiles,
    Revisions,
    diff_of,
    diff_since,
    is_work_tree,
    revisions_of,
    top_of,
)
from domains.code_review.types import PullRequest, ReviewQuery
from suite.errors import InputError
from suite.prediction.inputs import STDIN, exists, expanded, slug, source_name

SUFFIXES = (".diff", ".patch")
CASES = ".jsonl"
"""CodeReviewer's files, and those of the same form."""


@dataclass(frozen=True)
class Given:
    """One diff as it was handed in.

    Attributes:
        raw: its bytes.
        revisions: that it lies between, as far as anything tells.
        files: where its new files may be read; None where they are not at hand.
        newer: the part of it that came after `ReviewQuery.since`; None: all of it is looked at.
        pull: the pull request that it is of.
    """

    raw: bytes
    revisions: Revisions = field(default_factory=Revisions)
    files: NewFiles | PulledFiles | None = None
    newer: bytes | None = None
    pull: PullRequest | None = None


def sources(given: Any) -> Iterator[Any]:
    """Every input by itself; a folder that is no git work tree becomes its diffs."""
    for one in given:
        if isinstance(one, bytes) or one == STDIN or is_pull_request(one):
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
    stated = Revisions(query.base_commit, query.base_commit, query.commit)
    if is_pull_request(source):
        return _pulled(source, query)
    if isinstance(source, bytes):
        return Given(source, stated)
    if source != STDIN and Path(source).is_dir():
        folder = Path(source)
        raw, commit = diff_of(folder, query.range, query.context)
        newer = diff_since(folder, query.since, commit) if query.since else None
        return Given(raw, revisions_of(folder, query.range, commit).over(stated), NewFiles(folder, commit), newer)
    for option, value in (("range", query.range), ("since", query.since or None), ("context", query.context)):
        if value is not None:
            raise InputError(f"{source_name(source)}: is no git work tree; --{option} is for one")
    if source == STDIN:
        return Given(_diff_in(sys.stdin.buffer.read()), stated, _here())
    if Path(source).suffix == CASES:
        return Given(diff_of_cases(Path(source)), stated)
    try:
        return Given(_diff_in(Path(source).read_bytes()), stated, _here())
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from error


def is_pull_request(word: Any) -> bool:
    """Whether a word names a pull request, and no file of this machine."""
    try:
        return named_pull_request(word) is not None and not exists(word)
    except InputError:
        return True


def name_of(source: Any) -> str:
    """How a source is called in results and errors."""
    return "diff" if isinstance(source, bytes) else source_name(source)


def stem_of(source: Any) -> str:
    """How the files of its result are named."""
    if isinstance(source, bytes) or source == STDIN:
        return "review"
    if is_pull_request(source):
        return slug(str(named_pull_request(source)).replace("/", "-").replace("#", "-"))
    path = Path(source)
    name = path.resolve().name
    return name.removesuffix(path.suffix) if path.suffix in (*SUFFIXES, CASES, ".json") else name


def _pulled(source: str, query: ReviewQuery) -> Given:
    """A pull request's diff, over the network."""
    from domains.code_review.data.github import GitHub

    pull = named_pull_request(source)
    assert pull is not None
    for option, value in (("range", query.range), ("context", query.context)):
        if value is not None:
            raise InputError(f"{pull}: --{option} is for a git work tree; a pull request is read as GitHub shows it")
    github = GitHub()
    found = read_pull_request(github, pull, query.since)
    revisions = Revisions(found.base, found.base, found.head)
    return Given(found.raw, revisions, PulledFiles(github, pull, found.head), found.newer, pull)


def _diff_in(raw: bytes) -> bytes:
    """The diff itself, or that of a saved answer of GitHub's about the files of a pull request."""
    return diff_of_answer(raw) if is_saved_answer(raw) else raw


def _here() -> NewFiles | None:
    """The work tree that the command runs in: a diff is mostly of it. Its files are used only where they fit."""
    top = top_of(Path())
    return None if top is None else NewFiles(top)
