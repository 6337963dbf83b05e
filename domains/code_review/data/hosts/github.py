"""Pull requests over GitHub's interface: their diffs, and their files as they are after them."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

from domains.code_review.data.hosts.client import Client, Refused
from domains.code_review.data.hosts.naming import GITHUB, PullRequest
from domains.code_review.data.hosts.requested import RequestedDiff
from domains.code_review.data.readers.pull_request import diff_of_files
from suite.errors import InputError

_DIFF, _RAW = "application/vnd.github.diff", "application/vnd.github.raw+json"
_SHA = re.compile(r"[0-9a-f]{7,64}")
_TOO_LARGE = 406


class GitHub(Client[PullRequest]):
    """Asks GitHub.

    Args:
        address: of the interface; `GITHUB_API_URL`, else the public one.
        token: `GITHUB_TOKEN` by default; without one public repositories can be read.

    Raises:
        InputError: the address is no https one (http is for this machine alone), or the token cannot be one.
    """

    TOKEN, ADDRESS, PUBLIC = "GITHUB_TOKEN", "GITHUB_API_URL", GITHUB
    HEADERS = {"X-GitHub-Api-Version": "2022-11-28"}
    JSON = "application/vnd.github+json"

    def __init__(self, address: str | None = None, token: str | None = None) -> None:
        address = address or os.environ.get(self.ADDRESS) or self.PUBLIC
        super().__init__(address, os.environ.get(self.TOKEN, "") if token is None else token)

    def read(self, request: PullRequest, since: str = "") -> RequestedDiff:
        told = self.json(request.path, str(request))
        head, base = (_sha(told, side, request) for side in ("head", "base"))
        try:
            raw = self.content(request.path, str(request), _DIFF)
        except Refused as error:
            if error.status != _TOO_LARGE:
                raise
            pages = self.pages(f"{request.path}/files", str(request))
            raw = diff_of_files([one for page in pages for one in page], f"{request}'s list of files")
        newer = None
        if since:
            if not _SHA.fullmatch(since):
                raise InputError(f"since is {since!r}; of a pull request give a commit's sha")
            newer = self.content(f"{request.repository}/compare/{since}...{head}", f"{request} since {since}", _DIFF)
        return RequestedDiff(raw, head, base, base, newer)

    def file(self, request: PullRequest, path: str, commit: str) -> bytes:
        place = quote(path.encode("utf-8", "surrogateescape"))
        return self.content(f"{request.repository}/contents/{place}?ref={commit}", str(request), _RAW)


def _sha(told: Any, side: str, pull: PullRequest) -> str:
    found = told.get(side) if isinstance(told, dict) else None
    sha = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(sha, str) or not _SHA.fullmatch(sha):
        raise InputError(f"{pull}: the answer names no revision of its {side}; is GITHUB_API_URL right?")
    return sha
