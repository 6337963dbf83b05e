"""The body of a review as GitHub's API takes it.

GitHub refuses the whole review where one comment is outside the diff, begins where it ends, or goes over two hunks. So
each is checked against the diff, and what has no place there goes into the review's own text.
"""

from __future__ import annotations

from typing import Any

from domains.code_review.output.plain import altered, clean, controlled, fenced, markdown
from domains.code_review.types import Diff, Finding, Review


def review(result: Review) -> dict[str, Any]:
    """The body; it comments, and neither approves nor requests changes."""
    comments, outside = [], []
    for finding in result.findings:
        comment = _comment(finding, result.diff)
        if comment is None:
            outside.append(finding)
        else:
            comments.append(comment)
    lines = [f"{result.summary()}."]
    lines += [f"- `{controlled(one.path).replace('`', '')}`, line {one.line}: {said(one)}" for one in outside]
    body: dict[str, Any] = {"event": "COMMENT", "body": "\n".join(lines), "comments": comments}
    return {"commit_id": result.commit, **body} if result.commit else body


def _comment(finding: Finding, diff: Diff) -> dict[str, Any] | None:
    """A finding as a comment on the diff; None where it has no place there."""
    hunk = next(
        (hunk for file in diff if file.path == finding.path for hunk in file.hunks if hunk.title() == finding.hunk),
        None,
    )
    if hunk is None or altered(finding.path):
        return None
    numbers = {line.new if finding.side == "RIGHT" else line.old for line in hunk.side(finding.side)}
    line, start = finding.line, finding.start_line
    text = said(finding)
    lines = finding.suggestion
    # A suggestion replaces exactly the lines that its comment is on.
    if lines is not None and finding.side == "RIGHT" and {lines.start, lines.end} <= numbers:
        line, start = lines.end, lines.start
        text += f"\n\n{fenced([clean(one) for one in lines.lines])}"
    if line not in numbers:
        return None
    comment: dict[str, Any] = {"path": finding.path, "body": text, "line": line, "side": finding.side}
    if start is not None and start != line and start in numbers:
        comment |= {"start_line": start, "start_side": finding.side}
    return comment


def said(finding: Finding) -> str:
    """What a comment says, for a page that reads Markdown."""
    need = "" if finding.need is None else f" ({finding.need:.0%} likely to need a review)"
    return (markdown(finding.comment) or "This change needs a review.") + need
