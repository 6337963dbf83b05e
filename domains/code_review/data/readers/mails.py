"""Commits out of diffs: mails of `git format-patch`, one or many, or a bare diff, whose message nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_string, policy
from itertools import pairwise
from pathlib import Path

from domains.code_review.data.commits import Commit, marked
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.work_tree import git
from suite.errors import InputError

_MAIL = re.compile(rb"^From ([0-9a-f]{40}) Mon Sep 17 00:00:00 2001$", re.MULTILINE)
_TAG = re.compile(r"^\[PATCH[^\]]*\] *")


def commits_of(raw: bytes, name: str) -> Iterator[Commit]:
    """The commits of mails, or the one of a diff.

    Args:
        name: of a commit that does not tell its hash.

    Raises:
        InputError: it is neither.
    """
    starts = [match.start() for match in _MAIL.finditer(raw)]
    for start, stop in pairwise([*starts, len(raw)] if starts else [0, len(raw)]):
        yield _commit(raw[start:stop], name)


def commits_in(folder: Path, commits: str | None) -> Iterator[Commit]:
    """The commits of a work tree's range; the last one where there is none.

    Raises:
        InputError: git is not there, or says that the range is none.
    """
    if commits is not None and (commits.startswith("-") or ".." not in commits):
        raise InputError(f"{commits!r} is no range of commits; write e.g. main..HEAD")
    words = ["format-patch", "--stdout", "--no-signature", "-M", *([commits] if commits else ["-1", "HEAD"])]
    try:
        raw = git(folder, *words)
    except InputError as error:
        why = f"git knows no {commits}; give --range e.g. main..HEAD" if commits else "has no commit yet"
        raise InputError(f"{folder}: {why}") from error
    if raw.strip():
        yield from commits_of(raw, "HEAD")


def _commit(raw: bytes, name: str) -> Commit:
    diff = parse_diff(raw)
    rows = marked(
        line.kind + line.text for file in diff for hunk in file.hunks for line in hunk.lines if not file.binary
    )
    match = _MAIL.match(raw)
    return Commit(match[1].decode() if match else name, _message(diff.preamble), rows=rows)


def _message(mail: str) -> str:
    """Subject and text of a mail, without what `git format-patch` adds; empty where there is no subject."""
    head = mail.partition("\n")[2] if mail.startswith("From ") else mail
    read = message_from_string(head, policy=policy.default)
    subject = " ".join(_TAG.sub("", str(read["Subject"] or "")).split())
    if not subject:
        return ""
    body = str(read.get_payload()).partition("\n---\n")[0].strip()
    return f"{subject}\n\n{body}" if body else subject
