"""Recorded answers of GitHub's: review comments of a repository, and the files of pull requests. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import InputError


@dataclass(frozen=True)
class ReviewComment:
    """A comment at a line of a pull request.

    Attributes:
        hunk: the diff up to the line. line: in the new file; None where it is not known.
        commit: that the comment is on. when: ISO time. author: who wrote it. bot: a program wrote it.
        reply: it answers another one.
    """

    id: str
    path: str
    hunk: str
    body: str
    line: int | None = None
    commit: str = ""
    when: str = ""
    author: str = ""
    bot: bool = False
    reply: bool = False


@dataclass(frozen=True)
class ChangedFile:
    """A file of a merged pull request. when: of the record, where it says."""

    path: str
    patch: str
    when: str = ""


def read_recorded(folder: Path) -> Iterator[ReviewComment | ChangedFile]:
    """Everything in the JSON files of a folder: lists of objects, those with `diff_hunk` comments, with `patch` files.

    Raises:
        InputError: there is no such file, or one is no list of such objects; names file and place.
    """
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no .json file there; save answers of /pulls/comments and /pulls/N/files to it")
    for file in files:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: not JSON ({error})") from error
        if not isinstance(found, list):
            raise InputError(f"{file}: expected a list, found {type(found).__name__}")
        for number, one in enumerate(found, 1):
            if not isinstance(one, dict):
                raise InputError(f"{file}: item {number} is no object")
            yield from _item(one, f"{file}: item {number}")


def _item(one: dict[str, Any], where: str) -> Iterator[ReviewComment | ChangedFile]:
    if "diff_hunk" in one:
        user = one.get("user") or {}
        author = str(user.get("login", ""))
        line = one.get("original_line", one.get("line"))
        yield ReviewComment(
            id=str(one.get("id", where)),
            path=_string(one, "path", where),
            hunk=_string(one, "diff_hunk", where),
            body=_string(one, "body", where),
            line=line if isinstance(line, int) else None,
            commit=str(one.get("original_commit_id") or one.get("commit_id") or ""),
            when=str(one.get("created_at") or ""),
            author=author,
            bot=user.get("type") == "Bot" or author.endswith("[bot]"),
            reply=bool(one.get("in_reply_to_id")),
        )
    elif "filename" in one:
        patch = one.get("patch")
        if isinstance(patch, str):  # a binary file has none
            yield ChangedFile(_string(one, "filename", where), patch, str(one.get("created_at") or ""))
    else:
        raise InputError(f"{where}: neither a review comment (diff_hunk) nor a file of a pull request (filename)")


def _string(one: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(one.get(key), str):
        raise InputError(f"{where}: {key!r} is missing or no string")
    return str(one[key])
