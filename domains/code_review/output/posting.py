"""A review put on its pull or merge request: shown first, then sent, and nothing that stands there already."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from domains.code_review.data.hosts.naming import MergeRequest
from domains.code_review.data.hosts.opening import client_of
from domains.code_review.output.github import review
from domains.code_review.output.gitlab import discussions
from domains.code_review.types import ChangeRequest, Review
from suite.errors import InputError
from suite.tables import counted

if TYPE_CHECKING:
    from domains.code_review.data.hosts.client import Client


def check_postable(request: ChangeRequest) -> None:
    """Refuse what cannot be posted to, before anything is read.

    Raises:
        InputError: there is no token for its host in the environment.
    """
    client = client_of(request)
    if not client.has_token:
        shown = "gitlab" if isinstance(request, MergeRequest) else "github"
        raise InputError(
            f"--post needs a token that may write {request.KIND}s in the environment variable {client.TOKEN} "
            f"({client.without_token}); --format {shown} shows what would be sent"
        )


def post(result: Review, shown: TextIO | None = None) -> str:
    """Show what a review says, then post it.

    Args:
        shown: where it is shown; standard error by default.

    Returns:
        What became of it, in words.

    Raises:
        InputError: the result is of no request, or the host does not take it; says why.
    """
    request = result.request
    if request is None:
        raise InputError("only the review of a pull or merge request can be posted; give it by its name")
    if not result.findings:
        return f"{request}: nothing was found, nothing is posted"
    client = client_of(request)
    if isinstance(request, MergeRequest):
        return _post_discussions(discussions(result), request, client, shown or sys.stderr)
    return _post_review(review(result), request, client, shown or sys.stderr)


def _post_review(body: dict[str, Any], pull: ChangeRequest, client: Client[Any], shown: TextIO) -> str:
    known = {
        (one.get("path"), one.get("body"))
        for page in client.pages(f"{pull.path}/comments", f"{pull}: its comments")
        for one in page
    }
    new = [one for one in body["comments"] if (one["path"], one["body"]) not in known]
    before = len(body["comments"]) - len(new)
    if before and not new:
        return _nothing_new(pull, before, "comment")
    body["comments"] = new
    _show(body, pull, client, shown)
    answer = client.post(f"{pull.path}/reviews", f"{pull}: posting", body)
    place = answer.get("html_url") if isinstance(answer, dict) else None
    return _said(pull, new, before, "comment", place)


def _post_discussions(bodies: list[dict[str, Any]], merge: MergeRequest, client: Client[Any], shown: TextIO) -> str:
    """One discussion a finding: GitLab takes each by itself, so that one it refuses leaves the others."""
    from domains.code_review.data.hosts.client import Refused

    known = set(_notes(merge, client))
    new = [one for one in bodies if _key(one) not in known]
    before = len(bodies) - len(new)
    if before and not new:
        return _nothing_new(merge, before, "discussion")
    _show(new, merge, client, shown)
    refused: list[str] = []
    for number, body in enumerate(new):
        try:
            client.post(f"{merge.path}/discussions", f"{merge}: posting", body)
        except Refused as error:
            if error.status != 400:
                raise _broken_off(error, number - len(refused), len(new)) from error
            refused.append(f"{error}")
        except InputError as error:
            raise _broken_off(error, number - len(refused), len(new)) from error
    if refused:
        raise _broken_off(refused[0], len(new) - len(refused), len(new))
    return _said(merge, new, before, "discussion", merge.page)


def _notes(merge: MergeRequest, client: Client[Any]) -> Iterator[tuple[Any, Any]]:
    """Files and texts of what is said on a merge request."""
    for page in client.pages(f"{merge.path}/discussions", f"{merge}: its discussions"):
        for one in page:
            notes = one.get("notes")
            yield from (_key(note) for note in (notes if isinstance(notes, list) else []) if isinstance(note, dict))


def _key(said: dict[str, Any]) -> tuple[Any, Any]:
    place = said.get("position")
    body = said.get("body")
    # GitLab cuts blanks off.
    return place.get("new_path") if isinstance(place, dict) else None, body.strip() if isinstance(body, str) else body


def _broken_off(why: InputError | str, done: int, of: int) -> InputError:
    return InputError(f"{why}; {done} of {counted(of, 'discussion')} were posted, the same command tries the others")


def _show(body: Any, request: ChangeRequest, client: Client[Any], shown: TextIO) -> None:
    text = json.dumps(body, ensure_ascii=False, indent=2)
    print(f"posting to {request} at {client.host}:\n{text}", file=shown, flush=True)


def _nothing_new(request: ChangeRequest, before: int, what: str) -> str:
    return f"{request}: nothing is posted, {counted(before, what)} stand there already"


def _said(request: ChangeRequest, new: Sequence[Any], before: int, what: str, place: str | None) -> str:
    already = f", {before} more stood there already" if before else ""
    return f"{request}: posted {counted(len(new), what)}{already}" + (f"; {place}" if place else "")
