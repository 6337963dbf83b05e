"""Discussions as GitLab's API takes them, one for each `POST /projects/{id}/merge_requests/{iid}/discussions`."""

from __future__ import annotations

from typing import Any

from domains.code_review.output.github import said
from domains.code_review.output.plain import altered, clean, fenced
from domains.code_review.types import Diff, FilePatch, Finding, Line, Review
from suite.errors import InputError


def discussions(result: Review) -> list[dict[str, Any]]:
    """The discussions of a review; what has no place in the diff is one without a position.

    Raises:
        InputError: it is not known which revisions the diff lies between: GitLab places nothing without them.
    """
    if result.findings and not (result.base and result.commit):
        raise InputError(
            "GitLab places comments by revisions, which this diff does not tell; give a work tree with --range "
            "main...HEAD, or --base-commit and --commit"
        )
    return [_discussion(finding, result) for finding in result.findings]


def _discussion(finding: Finding, result: Review) -> dict[str, Any]:
    text = said(finding)
    found = _place(finding, result.diff)
    if found is None:
        return {"body": f"`{clean(finding.path).replace('`', '')}`, line {finding.line}: {text}"}
    file, line = found
    lines = finding.suggestion
    if lines is not None and finding.side == "RIGHT" and line.new is not None and lines.start <= line.new <= lines.end:
        # Counted from the line that the discussion is on.
        span = f"suggestion:-{line.new - lines.start}+{lines.end - line.new}"
        text += f"\n\n{fenced([clean(one) for one in lines.lines], span)}"
    position: dict[str, Any] = {
        "position_type": "text",
        "base_sha": result.base,
        "start_sha": result.start or result.base,
        "head_sha": result.commit,
        "old_path": file.old_path or file.new_path,
        "new_path": file.new_path or file.old_path,
    }
    # A changed line has one number, an unchanged one is found by both.
    if line.old is not None:
        position["old_line"] = line.old
    if line.new is not None:
        position["new_line"] = line.new
    return {"body": text, "position": position}


def _place(finding: Finding, diff: Diff) -> tuple[FilePatch, Line] | None:
    """The line of the diff that a finding is on; None where the diff does not show it."""
    for file in diff:
        if file.path != finding.path or altered(file.old_path or "") or altered(file.new_path or ""):
            continue
        for hunk in file.hunks:
            for line in hunk.side(finding.side):
                if (line.new if finding.side == "RIGHT" else line.old) == finding.line:
                    return file, line
    return None
