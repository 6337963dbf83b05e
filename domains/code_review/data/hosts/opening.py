"""Who is asked about a pull or merge request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domains.code_review.data.hosts.naming import MergeRequest
from domains.code_review.types import ChangeRequest

if TYPE_CHECKING:
    from domains.code_review.data.hosts.client import Client


def client_of(request: ChangeRequest) -> Client[Any]:
    """The client of a request's host.

    Raises:
        InputError: the host or the token cannot be one.
    """
    if isinstance(request, MergeRequest):
        from domains.code_review.data.hosts.gitlab import GitLab

        return GitLab(request.address)
    from domains.code_review.data.hosts.github import GitHub

    return GitHub()
