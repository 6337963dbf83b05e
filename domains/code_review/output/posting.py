"""A review put on its pull request: shown first, then sent, and nothing that stands there already."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from domains.code_review.data.github import TOKEN, GitHub
from domains.code_review.output.github import review
from domains.code_review.types import Review, counted
from suite.errors import InputError


def check_postable() -> GitHub:
    """The interface that is posted to.

    Raises:
        InputError: there is no token in the environment.
    """
    github = GitHub()
    if not github.has_token:
        raise InputError(
            f"--post needs a token that may write pull requests in the environment variable {TOKEN}; "
            "--format github shows what would be sent"
        )
    return github


def post(result: Review, github: GitHub, shown: TextIO | None = None) -> str:
    """Show the body of a review, then post it.

    Args:
        shown: where it is shown; standard error by default.

    Returns:
        What became of it, in words.

    Raises:
        InputError: the result is of no pull request, or GitHub does not take it; says why.
    """
    if result.pull is None:
        raise InputError("only the review of a pull request can be posted; give it as owner/name#12")
    body = review(result)
    if not result.findings:
        return f"{result.pull}: nothing was found, nothing is posted"
    known = _said_before(result, github)
    new = [one for one in body["comments"] if (one["path"], one["body"]) not in known]
    before = len(body["comments"]) - len(new)
    if before and not new:
        return f"{result.pull}: nothing is posted, {counted(before, 'comment')} stand there already"
    body["comments"] = new
    text = json.dumps(body, ensure_ascii=False, indent=2)
    print(f"posting to {result.pull} at {github.host}:\n{text}", file=shown or sys.stderr, flush=True)
    answer = github.post(f"{result.pull.path}/reviews", f"{result.pull}: posting", body)
    place = answer.get("html_url") if isinstance(answer, dict) else None
    already = f", {before} more stood there already" if before else ""
    return f"{result.pull}: posted {counted(len(new), 'comment')}{already}" + (f"; {place}" if place else "")


def _said_before(result: Review, github: GitHub) -> set[tuple[Any, Any]]:
    """Files and texts of the comments on a pull request."""
    assert result.pull is not None
    pages = github.pages(f"{result.pull.path}/comments", f"{result.pull}: its comments")
    return {(one.get("path"), one.get("body")) for page in pages for one in page}
