"""Merge requests over GitLab's interface: their diffs, and their files as they are after them."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, urlsplit

from domains.code_review.data.hosts.client import Client
from domains.code_review.data.hosts.naming import GITLAB, MergeRequest, gitlab_address
from domains.code_review.data.hosts.requested import RequestedDiff
from domains.code_review.data.readers.merge_request import diff_of_changes
from suite.errors import InputError

_SHA = re.compile(r"[0-9a-f]{7,64}")


class GitLab(Client[MergeRequest]):
    """Asks a host of GitLab's.

    Args:
        address: of the interface; the one that `gitlab_address` says by default.
        token: `GITLAB_TOKEN` by default, for the host of `gitlab_address` alone: a page's address may name any other.

    Raises:
        InputError: the address is no https one (http is for this machine alone), or the token cannot be one.
    """

    TOKEN, ADDRESS, PUBLIC = "GITLAB_TOKEN", "GITLAB_API_URL", GITLAB

    def __init__(self, address: str | None = None, token: str | None = None) -> None:
        own = gitlab_address()
        address = address or own
        self._stranger = urlsplit(address)[:2] != urlsplit(own)[:2]
        if token is None:
            token = "" if self._stranger else os.environ.get(self.TOKEN, "")
        super().__init__(address, token, named="the merge request's host" if self._stranger else "")

    @property
    def without_token(self) -> str:
        if self.has_token or not self._stranger or not os.environ.get(self.TOKEN):
            return super().without_token
        own = urlsplit(gitlab_address()).netloc
        return f"{self.TOKEN} is sent to {own} alone; set {self.ADDRESS} to {self.address} if it is for this host"

    def read(self, request: MergeRequest, since: str = "") -> RequestedDiff:
        # A version holds the diff together with the revisions that it lies between: no push comes in between.
        versions = next(self.pages(f"{request.path}/versions", str(request)))
        if not versions:
            raise InputError(f"{request}: {self.host} has no diff of it; it is empty, or not made yet")
        newest = versions[0]
        base, start, head = (_sha(newest, side, request) for side in ("base", "start", "head"))
        version = self.json(f"{request.path}/versions/{newest.get('id')}", str(request))
        raw, unseen = diff_of_changes(_listed(version, request), f"{request}'s list of files")
        newer = None
        if since:
            if not _SHA.fullmatch(since):
                raise InputError(f"since is {since!r}; of a merge request give a commit's sha")
            place = f"{request.repository}/repository/compare?from={since}&to={head}"
            compared = self.json(place, f"{request} since {since}")
            newer, _ = diff_of_changes(_listed(compared, request), f"{request}'s files since {since}")
        return RequestedDiff(raw, head, base, start, newer, unseen)

    def file(self, request: MergeRequest, path: str, commit: str) -> bytes:
        place = quote(path.encode("utf-8", "surrogateescape"), safe="")
        return self.content(f"{request.repository}/repository/files/{place}/raw?ref={commit}", str(request), "*/*")


def _sha(version: dict[str, Any], side: str, request: MergeRequest) -> str:
    sha = version.get(f"{side}_commit_sha")
    if not isinstance(sha, str) or not _SHA.fullmatch(sha):
        raise InputError(f"{request}: the answer names no revision of its {side}; is GITLAB_API_URL right?")
    return sha


def _listed(told: Any, request: MergeRequest) -> list[dict[str, Any]]:
    found = told.get("diffs") if isinstance(told, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{request}: the answer has no list of files; is GITLAB_API_URL right?")
    return found
