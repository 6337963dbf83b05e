"""Pull and merge requests by name. Speaks with nobody, and imports nothing that could."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from domains.code_review.types import ChangeRequest
from suite.errors import InputError
from suite.prediction.inputs import exists

GITHUB, GITLAB = "https://api.github.com", "https://gitlab.com/api/v4"
"""The public interfaces."""
_V4 = "/api/v4"

_ADDRESS = re.compile("https?://", re.IGNORECASE)
_PASSWORD = re.compile(r"^(https?://)[^/?#]*@", re.IGNORECASE)

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+"
_SHORT_PULL = re.compile(rf"({_NAME})#(\d{{1,9}})")
_PULL_PAGE = re.compile(rf"https://[^/\s?#]+/({_NAME})/pull/(\d{{1,9}})(?:[/?#]\S*)?")

_PROJECT = r"(?:\.?\w[\w.-]*/)+\.?\w[\w.-]*"
_SHORT_MERGE = re.compile(rf"({_PROJECT})!(\d{{1,9}})", re.ASCII)
_MERGE_PAGE = re.compile(
    rf"(https?)://([^/\s?#@]+)/({_PROJECT})/(?:-/)?merge_requests/(\d{{1,9}})(?:[/?#]\S*)?", re.ASCII
)


@dataclass(frozen=True)
class PullRequest:
    """A pull request of GitHub's by its name. owner, name: of the repository."""

    KIND: ClassVar[str] = "pull request"

    owner: str
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}#{self.number}"

    @property
    def repository(self) -> str:
        """The repository's place in GitHub's interface."""
        return f"/repos/{self.owner}/{self.name}"

    @property
    def path(self) -> str:
        """Its own place there."""
        return f"{self.repository}/pulls/{self.number}"


@dataclass(frozen=True)
class MergeRequest:
    """A merge request of GitLab's by its name.

    Attributes:
        project: with its groups. address: of the interface of the host that has it.
    """

    KIND: ClassVar[str] = "merge request"

    project: str
    number: int
    address: str

    def __str__(self) -> str:
        return f"{self.project}!{self.number}"

    @property
    def repository(self) -> str:
        """The project's place in GitLab's interface."""
        return f"/projects/{quote(self.project, safe='')}"

    @property
    def path(self) -> str:
        """Its own place there."""
        return f"{self.repository}/merge_requests/{self.number}"

    @property
    def page(self) -> str:
        """The address of its page, for people."""
        return f"{self.address.removesuffix('/api/v4')}/{self.project}/-/merge_requests/{self.number}"


def named_request(word: Any) -> ChangeRequest | None:
    """The pull or merge request that a word names; None where it is something else.

    Raises:
        InputError: it is of a host that nobody is asked about, or holds a password.
    """
    if is_address(word) and without_password(word) != word:
        raise InputError("take name and password out of the address; a token is read from the environment")
    return named_pull_request(word) or named_merge_request(word)


def is_request(word: Any) -> bool:
    """Whether a word names a pull or merge request, and no file of this machine."""
    try:
        return named_request(word) is not None and not exists(word)
    except InputError:
        return True


def is_address(word: Any) -> bool:
    """Whether a word is the address of a page."""
    return isinstance(word, str) and _ADDRESS.match(word) is not None


def without_password(word: str) -> str:
    """An address as it may be shown; any other word as it is."""
    return _PASSWORD.sub(r"\1", word)


def named_pull_request(word: Any) -> PullRequest | None:
    """The pull request that a word names, `owner/name#12` or its page's address; None where it is something else.

    Raises:
        InputError: the address is of another host than the interface that is asked.
    """
    if not isinstance(word, str):
        return None
    if match := _SHORT_PULL.fullmatch(word):
        return PullRequest(*match[1].split("/"), int(match[2]))  # type: ignore[call-arg]
    match = _PULL_PAGE.fullmatch(word)
    if match is None:
        return None
    host = urlsplit(word).netloc.lower().removeprefix("www.")
    asked = urlsplit(os.environ.get("GITHUB_API_URL") or GITHUB).netloc.lower()
    if host != asked and f"api.{host}" != asked:
        raise InputError(f"{word}: {asked} is asked, and knows nothing of {host}; set GITHUB_API_URL to its interface")
    return PullRequest(*match[1].split("/"), int(match[2]))  # type: ignore[call-arg]


def named_merge_request(word: Any) -> MergeRequest | None:
    """The merge request that a word names, `group/project!12` or its page's address; None where it is something else.

    The short name is one of the host that `gitlab_address` says; a page is asked of its own host.
    """
    if not isinstance(word, str):
        return None
    own = gitlab_address()
    if match := _SHORT_MERGE.fullmatch(word):
        return MergeRequest(match[1], int(match[2]), own)
    match = _MERGE_PAGE.fullmatch(word)
    if match is None:
        return None
    scheme, host, project, number = match[1], match[2].lower(), match[3], int(match[4])
    root = urlsplit(own.removesuffix(_V4))
    below = root.path.strip("/") + "/" if root.path.strip("/") else ""
    if (scheme, host) == (root.scheme, root.netloc.lower()) and project.startswith(below):
        return MergeRequest(project.removeprefix(below), number, own)
    return MergeRequest(project, number, f"{scheme}://{host}{_V4}")


def gitlab_address() -> str:
    """GitLab's interface that the token is for: `GITLAB_API_URL`, else what GitLab's own jobs say, else the public one.

    The address of the host itself will do.
    """
    address = (os.environ.get("GITLAB_API_URL") or os.environ.get("CI_API_V4_URL") or GITLAB).rstrip("/")
    return address if address.endswith(_V4) else f"{address}{_V4}"
