"""What users hand in, read as diffs: files, folders, git work trees, standard input, requests, saved answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.code_review.data.hosts.files import RequestedFiles
from domains.code_review.data.hosts.naming import is_address, is_request, named_request, without_password
from domains.code_review.data.hosts.opening import client_of
from domains.code_review.data.readers.crer import diff_of_cases
from domains.code_review.data.readers.merge_request import diff_of_saved, is_saved_changes
from domains.code_review.data.readers.pull_request import diff_of_answer, is_saved_answer
from domains.code_review.data.readers.work_tree import (
    NewFiles,
    Revisions,
    diff_of,
    diff_since,
    is_work_tree,
    revisions_of,
    top_of,
    untracked,
)
from domains.code_review.types import ChangeRequest, ReviewQuery, printable
from suite.errors import InputError
from suite.prediction.inputs import STDIN, exists, expanded, slug, source_name
from suite.tables import counted

SUFFIXES = (".diff", ".patch")
CASES = ".jsonl"
"""CodeReviewer's files, and those of the same form."""
MOST_NAMES = 5
"""Of files that are told of in one line."""


@dataclass(frozen=True)
class Given:
    """One diff as it was handed in.

    Attributes:
        raw: its bytes.
        revisions: that it lies between, as far as anything tells.
        files: where its new files may be read; None where they are not at hand.
        newer: the part of it that came after `ReviewQuery.since`; None: all of it is looked at.
        request: the pull or merge request that it is of.
        unseen: files whose diff is not shown, each with the reason.
        notices: what the user should know, one line each.
    """

    raw: bytes
    revisions: Revisions = field(default_factory=Revisions)
    files: NewFiles | RequestedFiles | None = None
    newer: bytes | None = None
    request: ChangeRequest | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def sources(given: Any) -> Iterator[Any]:
    """Every input by itself; a folder that is no git work tree becomes its diffs."""
    for one in given:
        if isinstance(one, bytes) or one == STDIN or is_request(one) or (is_address(one) and not exists(one)):
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
    if is_request(source):
        return _requested(source, query)
    if isinstance(source, bytes):
        return Given(source, stated)
    if source != STDIN and not exists(source):
        if is_address(source):
            raise InputError(
                "is no page of a pull or merge request; give e.g. https://github.com/OWNER/NAME/pull/12 or "
                "https://gitlab.com/GROUP/PROJECT/-/merge_requests/12"
            )
        raise InputError(f"{source}: no such file or folder; check the path")
    if source != STDIN and Path(source).is_dir():
        return _changes(Path(source), query, stated)
    for option, value in (("range", query.range), ("since", query.since or None), ("context", query.context)):
        if value is not None:
            raise InputError(f"{source_name(source)}: is no git work tree; --{option} is for one")
    if source == STDIN:
        return _saved(sys.stdin.buffer.read(), stated)
    if Path(source).suffix == CASES:
        return Given(diff_of_cases(Path(source)), stated)
    try:
        return _saved(Path(source).read_bytes(), stated)
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from error


def name_of(source: Any) -> str:
    """How a source is called in results and errors."""
    return "diff" if isinstance(source, bytes) else without_password(source_name(source))


def stem_of(source: Any) -> str:
    """How the files of its result are named."""
    if isinstance(source, bytes) or source == STDIN:
        return "review"
    if is_request(source):
        return slug(re.sub("[/#!]", "-", str(named_request(source))))
    path = Path(source)
    name = path.resolve().name
    return name.removesuffix(path.suffix) if path.suffix in (*SUFFIXES, CASES, ".json") else name


def _changes(folder: Path, query: ReviewQuery, stated: Revisions) -> Given:
    """What a folder of a work tree has that is not committed, or a range of its commits."""
    top = check_work_tree(folder, SUFFIXES)
    raw, commit = diff_of(folder, query.range, query.context)
    newer = diff_since(folder, query.since, commit) if query.since else None
    revisions = revisions_of(folder, query.range, commit).over(stated)
    unknown = untracked(folder) if query.range is None else []
    notices: tuple[str, ...] = ()
    if unknown:
        names = ", ".join(map(printable, unknown[:MOST_NAMES])) + (", ..." if len(unknown) > MOST_NAMES else "")
        files = f"{counted(len(unknown), 'file')} {'is' if len(unknown) == 1 else 'are'}"
        notices = (f"{files} not tracked by git and not looked at: {names}; `git add -N` shows them",)
    return Given(raw, revisions, NewFiles(top, commit), newer, notices=notices)


def check_work_tree(folder: Path, suffixes: Sequence[str]) -> Path:
    """The top of the work tree that a folder is in.

    Args:
        suffixes: of the files that were looked for in it first.

    Raises:
        InputError: it is in none.
    """
    try:
        return top_of(folder)
    except InputError as error:
        if is_work_tree(folder):  # git says what is wrong with it
            raise
        raise InputError(
            f"{folder}: holds no file that ends in {', '.join(suffixes)}, and is in no git work tree; check the path"
        ) from error


def _requested(source: str, query: ReviewQuery) -> Given:
    """A pull or merge request's diff, over the network."""
    request = named_request(source)
    assert request is not None
    for option, value in (("range", query.range), ("context", query.context)):
        if value is not None:
            raise InputError(
                f"{request}: --{option} is for a git work tree; a {request.KIND} is read as its host shows it"
            )
    client = client_of(request)
    found = client.read(request, query.since)
    revisions = Revisions(found.base, found.start, found.head)
    files = RequestedFiles(client, request, found.head)
    return Given(found.raw, revisions, files, found.newer, request, found.unseen)


def _saved(raw: bytes, stated: Revisions) -> Given:
    """A diff, or that of an answer of GitHub's or GitLab's about the files of a request."""
    if is_saved_answer(raw):
        raw = diff_of_answer(raw)
    elif is_saved_changes(raw):
        raw, unseen = diff_of_saved(raw)
        return Given(raw, stated, _here(), unseen=unseen)
    return Given(raw, stated, _here())


def _here() -> NewFiles | None:
    """The work tree that the command runs in: a diff is mostly of it. Its files are used only where they fit."""
    try:
        return NewFiles(top_of(Path()))
    except InputError:
        return None
