"""Pull requests by name: their diffs, and their files as they are after it, over GitHub's interface."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from domains.code_review.data.readers.pull_request import diff_of_files
from domains.code_review.types import PullRequest, leaves_tree
from suite.errors import InputError

if TYPE_CHECKING:
    from domains.code_review.data.github import GitHub

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+"
_SHORT = re.compile(rf"({_NAME})#(\d{{1,9}})")
_ADDRESS = re.compile(rf"https://[^/\s?#]+/({_NAME})/pull/(\d{{1,9}})(?:[/?#]\S*)?")
_SHA = re.compile(r"[0-9a-f]{7,64}")
_TOO_LARGE = 406
LARGEST = 4 * 2**20
"""Bytes of a file that is read to see whether a suggestion fits."""


@dataclass(frozen=True)
class PulledDiff:
    """A pull request as it was read.

    Attributes:
        raw: its diff. head: the revision that its new files are of. base: the one that it is to go into.
        newer: the diff since a revision, where that was asked for.
    """

    raw: bytes
    head: str
    base: str
    newer: bytes | None = None


def named_pull_request(word: Any) -> PullRequest | None:
    """The pull request that a word names, `owner/name#12` or its page's address; None where it is something else.

    Raises:
        InputError: the address is of another host than the interface that is asked.
    """
    if not isinstance(word, str):
        return None
    if match := _SHORT.fullmatch(word):
        return PullRequest(*match[1].split("/"), int(match[2]))  # type: ignore[call-arg]
    match = _ADDRESS.fullmatch(word)
    if match is None:
        return None
    host = urlsplit(word).netloc.lower().removeprefix("www.")
    asked = urlsplit(os.environ.get("GITHUB_API_URL") or "https://api.github.com").netloc.lower()
    if host != asked and f"api.{host}" != asked:
        raise InputError(f"{word}: {asked} is asked, and knows nothing of {host}; set GITHUB_API_URL to its interface")
    return PullRequest(*match[1].split("/"), int(match[2]))  # type: ignore[call-arg]


def read_pull_request(github: GitHub, pull: PullRequest, since: str = "") -> PulledDiff:
    """Read a pull request's diff.

    Args:
        since: a revision of it; what came after it is read, too.

    Raises:
        InputError: it cannot be had; says why and what to do.
    """
    from domains.code_review.data.github import DIFF, Refused

    told = github.json(pull.path, str(pull))
    head, base = (_sha(told, side, pull) for side in ("head", "base"))
    try:
        raw = github.content(pull.path, str(pull), DIFF)
    except Refused as error:
        if error.status != _TOO_LARGE:
            raise
        pages = github.pages(f"{pull.path}/files", str(pull))
        raw = diff_of_files([one for page in pages for one in page], f"{pull}'s list of files")
    newer = None
    if since:
        if not _SHA.fullmatch(since):
            raise InputError(f"since is {since!r}; of a pull request give a commit's sha")
        newer = github.content(f"{pull.repository}/compare/{since}...{head}", f"{pull} since {since}", DIFF)
    return PulledDiff(raw, head, base, newer)


def _sha(told: Any, side: str, pull: PullRequest) -> str:
    found = told.get(side) if isinstance(told, dict) else None
    sha = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(sha, str) or not _SHA.fullmatch(sha):
        raise InputError(f"{pull}: the answer names no revision of its {side}; is GITHUB_API_URL right?")
    return sha


@dataclass
class PulledFiles:
    """The files that a pull request leads to, each fetched when it is first read.

    Attributes:
        commit: that has them.
    """

    github: GitHub
    pull: PullRequest
    commit: str
    _known: dict[str, bytes | None] = field(default_factory=dict)
    _silent: bool = False

    def read(self, path: str) -> bytes | None:
        """A file's content; None where it cannot be had, or is very large."""
        if path not in self._known:
            self._known[path] = None if leaves_tree(path) or self._silent else self._fetch(path)
        return self._known[path]

    def _fetch(self, path: str) -> bytes | None:
        from domains.code_review.data.github import RAW, Refused

        try:
            place = quote(path.encode("utf-8", "surrogateescape"))
            raw = self.github.content(f"{self.pull.repository}/contents/{place}?ref={self.commit}", str(self.pull), RAW)
        except Refused as error:
            self._silent = error.status != 404
            return None
        except InputError:
            self._silent = True  # a review goes on without the files; it need not wait for each
            return None
        return raw if len(raw) <= LARGEST else None
