"""The verb `predict`: reviews by a model and its adapters; an adapter for commits says something of each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from domains.code_review.inference.loaded import DOMAIN
from domains.code_review.predict import commits
from domains.code_review.predict.reviewers import CodeReviewer
from domains.code_review.predict.telling import QUERY, Format, check, tell, tell_of_commits
from domains.code_review.types import MOST_CHANGED
from suite.errors import InputError

EMBEDDED = ("tiny", f"{DOMAIN}/tiny")


def predict(
    inputs: Sequence[str] = (),
    *,
    adapter: str = "tiny",
    base: str | None = None,
    necessity: str | None = None,
    comment: str | None = None,
    refinement: str | None = None,
    template: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    strict_base: bool = False,
    out: Path | None = None,
    format: Format = "text",
    threshold: float | None = None,
    suggest: bool = True,
    anchor: Literal["change", "likelihood"] = "change",
    max_new_tokens: int = 128,
    batch_size: int = 16,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    num_beams: int = 1,
    repetition_penalty: float = 1.0,
    min_confidence: float = 0.0,
    cache: bool = True,
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
    """Review diffs by a model and its adapters: comments at their lines and patches that apply, in any format.

    An adapter for commits says of each how likely it brings in a defect, or writes its message.

    Args:
        inputs: files of diffs, saved answers of GitHub's or GitLab's, CodeReviewer's .jsonl files, folders, git work
            trees, pull requests (owner/name#12 or the page's address, read with GITHUB_TOKEN where it is set), merge
            requests ('group/project!12' or the page's address, with GITLAB_TOKEN), or - for stdin.
        adapter: reference of a folder with an adapter for each task, or of one task's.
        base: reference of the base; the one that the adapter names where it is left out.
        necessity: reference of the adapter that says which hunks need a review; alone with --comment and --refinement
            it replaces --adapter.
        comment: reference of the adapter that writes comments.
        refinement: reference of the adapter that answers comments with code.
        template: name of the prompts that the adapters must have been trained with.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        strict_base: refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it.
        out: folder for JSON, SARIF, a patch of the suggestions and an HTML page; without it the findings are printed.
        format: what is printed: text, json, sarif, github (the body of a review), gitlab (discussions), rdjson,
            markdown, html or patch.
        threshold: a chance of at least this calls for a review; the adapter's own where it is left out.
        suggest: ask for new code, too, where there is a comment.
        anchor: where a comment stands: change (the end of the first change) or likelihood (one forward a line).
        max_new_tokens: longest comment.
        batch_size: hunks side by side.
        temperature: of drawing tokens; 0 takes the likeliest.
        top_p: draw from the likeliest tokens that together have this chance.
        seed: of the drawing.
        num_beams: go on with this many beginnings of a text at once; 1 takes the likeliest token each time.
        repetition_penalty: above 1 makes tokens less likely that stand in the prompt or were written before.
        min_confidence: show no comment whose tokens are less likely than this, as the geometric mean.
        cache: take what the same model said of the same hunk before, from disk.
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
    parts = {"necessity": necessity, "comment": comment, "refinement": refinement}
    alone = adapter == "tiny" and any(parts.values())
    check(inputs, post)
    if not alone and (task := commits.task_of(adapter)) is not None:
        others = {"post": post, "fail_on": fail_on != "none", "format": format not in ("text", "json"), **parts}
        if foreign := [*commits.of_reviews(given), *(name for name, value in others.items() if value)]:
            raise InputError(
                f"{adapter} is for {task} of commits: it reviews nothing, and takes no {_flag(foreign[0], given)}"
                + (f" {format}" if foreign[0] == "format" else "")
            )
        options = {name: given[name] for name in commits.OPTIONS if given[name] is not None}
        predictor = commits.predictor(task).from_pretrained(adapter, base, device, dtype, strict_base=strict_base)
        return tell_of_commits(inputs, predictor.predict(inputs, **options), out, format)
    reviewer = CodeReviewer.from_pretrained(
        None if alone else adapter, base, device, dtype, template=template, strict_base=strict_base, **parts
    )
    results = reviewer.predict(inputs, **given | {"paths": tuple(paths or ())})
    told = tell(inputs, results, out, format, fail_on, post)
    if adapter in EMBEDDED and not alone and told["found"]:
        print(
            "notice: the embedded adapters know small made functions alone, and guess of all other code; give your own "
            "by --adapter, or try `suite code_review review`",
            file=sys.stderr,
        )
    return told


def _flag(name: str, given: Mapping[str, Any]) -> str:
    """An option as it was given."""
    return f"--{'no-' if given.get(name) is False else ''}{name.replace('_', '-')}"
