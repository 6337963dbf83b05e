"""A repository's review comments and the files of its merged pull requests, fetched into a folder of answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from domains.code_review.data.hosts.client import PAGE, Refused
from domains.code_review.data.hosts.github import GitHub
from suite.errors import InputError
from suite.files import write_text

ABOUT = ".recording"
"""File of the folder that says what is recorded in it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


def record(repository: str, folder: Path, since: str = "", most_pulls: int = 500) -> int:
    """Fetch what the folder lacks; a run that was cut off goes on where it was.

    Args:
        repository: owner/name.
        folder: of the recording, one repository's alone.
        since: ISO time; what is older is left where it is.
        most_pulls: merged pull requests, the latest first.

    Returns:
        How many files were written.

    Raises:
        InputError: there is no token, GitHub refuses, or the folder holds another recording.
    """
    if not _NAME.fullmatch(repository):
        raise InputError(f"{repository!r} is no repository; write owner/name")
    github = GitHub()
    if not github.has_token:
        raise InputError(
            f"--repo needs a token in the environment variable {github.TOKEN}, or recorded answers without --repo"
        )
    _check_same(folder, {"repository": repository, "since": since})
    try:
        return _comments(github, repository, folder, since) + _files(github, repository, folder, since, most_pulls)
    except Refused as error:
        raise InputError(f"{error}; the same command goes on where it was") from error


def _check_same(folder: Path, about: dict[str, str]) -> None:
    known = folder / ABOUT
    text = json.dumps(about, sort_keys=True) + "\n"
    if known.is_file() and known.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{folder}: holds the recording {known.read_text(encoding='utf-8').strip()}; take another folder"
        )
    write_text(known, text)


def _comments(github: GitHub, repository: str, folder: Path, since: str) -> int:
    """Pages of comments, the oldest first, so that full ones stay as they are."""
    held = sorted(folder.glob("comments-*.json"))
    full = sum(len(json.loads(file.read_text(encoding="utf-8"))) == PAGE for file in held)
    path = f"/repos/{repository}/pulls/comments?sort=created&direction=asc&page={full + 1}"
    path += f"&since={since}" if since else ""
    number = full
    for number, page in enumerate(github.pages(path, f"{repository}: its comments"), full + 1):
        _write(folder / f"comments-{number:05}.json", page)
    return number - full


def _files(github: GitHub, repository: str, folder: Path, since: str, most: int) -> int:
    """The files of merged pull requests, each with the time of its merge: their own answer tells none."""
    seen = written = 0
    path = f"/repos/{repository}/pulls?state=closed&sort=updated&direction=desc"
    for page in github.pages(path, f"{repository}: its pull requests"):
        for pull in page:
            merged, number = pull.get("merged_at"), pull.get("number")
            if since and str(pull.get("updated_at") or "") < since:
                return written
            if not merged or not isinstance(number, int) or (since and merged < since):
                continue
            if seen == most:
                return written
            seen += 1
            file = folder / f"pull-{number:07}.json"
            if not file.is_file():
                pages = github.pages(f"/repos/{repository}/pulls/{number}/files", f"{repository}#{number}")
                _write(file, [{**one, "created_at": merged} for found in pages for one in found])
                written += 1
    return written


def _write(file: Path, content: list[dict[str, Any]]) -> None:
    write_text(file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
