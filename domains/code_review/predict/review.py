"""The verb `review`: reviews by fixed rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from domains.code_review.predict.reviewers import RuleReviewer
from domains.code_review.predict.telling import QUERY, Format, check, tell
from domains.code_review.types import MOST_CHANGED


def review(
    inputs: Sequence[str] = (),
    *,
    out: Path | None = None,
    format: Format = "text",
    range: str | None = None,
    paths: list[str] | None = None,
    max_comments: int | None = None,
    most_changed: int = MOST_CHANGED,
    lenient: bool = False,
    since: str = "",
    context: int | None = None,
    commit: str = "",
    base_commit: str = "",
    post: bool = False,
    fail_on: Literal["none", "any"] = "none",
) -> dict[str, Any]:
    """Review diffs by fixed rules, without a model: findings at their lines, in any format.

    Args:
        inputs: files of diffs, saved answers of GitHub's or GitLab's, CodeReviewer's .jsonl files, folders, git work
            trees, pull requests (owner/name#12 or the page's address, read with GITHUB_TOKEN where it is set), merge
            requests ('group/project!12' or the page's address, with GITLAB_TOKEN), or - for stdin.
        out: folder for JSON, SARIF, a patch of the suggestions and an HTML page; without it the findings are printed.
        format: what is printed: text, json, sarif, github (the body of a review), gitlab (discussions), rdjson,
            markdown, html or patch.
        range: of a work tree, as `git diff` takes it, e.g. main...HEAD; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. 'src/**'.
        max_comments: keep at most this many findings of a diff.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        since: look only at hunks in which something changed after this commit, of a work tree or a request.
        context: unchanged lines of a work tree around each change; as many as git shows by default.
        commit: the revision that the new files are of, for GitHub and GitLab; a work tree tells its own.
        base_commit: the one that the old files are of, for GitLab; a range of a work tree tells its own.
        post: put the review on its pull or merge request, by the token in GITHUB_TOKEN or GITLAB_TOKEN; what is sent
            is shown first.
        fail_on: any: exit with 3 where anything is found.
    """
    given = {name: value for name, value in locals().items() if name in QUERY}
    check(inputs, post)
    results = RuleReviewer().review(inputs, **given | {"paths": tuple(paths or ())})
    return tell(inputs, results, out, format, fail_on, post)
