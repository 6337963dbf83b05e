"""Findings in the forms that other programs read."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.output import page
from domains.code_review.output.github import review
from domains.code_review.output.gitlab import discussions
from domains.code_review.output.plain import altered, clean, controlled, markdown
from domains.code_review.output.sarif import log
from domains.code_review.types import Review

SEVERE = 0.8
"""From this chance on a finding is a warning, below a note."""


def as_text(result: Review) -> str:
    """One line a finding, `path:line: [rule chance] comment`."""
    return "".join(f"{finding}\n" for finding in result.findings)


def as_json(result: Review) -> str:
    """Everything but the diff itself."""
    return json.dumps({"source": clean(result.source), **record(result)}, ensure_ascii=False, indent=2) + "\n"


def record(result: Review) -> dict[str, Any]:
    """A review as data, ready for `json.dumps`; what is no UTF-8 in it is U+FFFD, and `altered` says where."""
    findings = []
    for finding in result.findings:
        data = asdict(finding)
        findings.append(clean(data) | ({"altered": True} if altered(data) else {}))
    return {
        "findings": findings,
        "files": len(result.diff.files),
        "hunks": result.hunks,
        "passed_over": clean(dict(result.passed_over)),
        "dropped": dict(result.dropped),
        "commit": result.commit,
        "reviewer": dict(result.reviewer),
        "notices": clean(list(result.notices)),
    }


def as_sarif(result: Review) -> str:
    """SARIF 2.1.0."""
    return json.dumps(log(result), ensure_ascii=False, indent=2) + "\n"


def as_github(result: Review) -> str:
    """The body of GitHub's `POST /repos/{owner}/{repo}/pulls/{number}/reviews`."""
    return json.dumps(review(result), ensure_ascii=False, indent=2) + "\n"


def as_gitlab(result: Review) -> str:
    """The bodies of GitLab's `POST /projects/{id}/merge_requests/{iid}/discussions`, a list of them."""
    return json.dumps(discussions(result), ensure_ascii=False, indent=2) + "\n"


def as_rdjson(result: Review) -> str:
    """Reviewdog's diagnostics, one JSON object a line."""
    rows = []
    for finding in result.findings:
        if finding.side == "LEFT" and finding.nearest is None:
            continue
        last = finding.line if finding.side == "RIGHT" else finding.nearest
        span: dict[str, Any] = {"start": {"line": finding.start_line or last}, "end": {"line": last}}
        if finding.side == "LEFT":
            span = {"start": {"line": last}}
        row: dict[str, Any] = {
            "message": controlled(finding.comment) or "needs a review",
            "location": {"path": clean(finding.path), "range": span},
            "severity": "WARNING" if (finding.need or 0) >= SEVERE else "INFO",
            "source": {"name": "peft-suite"},
            "code": {"value": finding.rule},
        }
        if finding.suggestion is not None:
            lines = finding.suggestion
            place = {"start": {"line": lines.start, "column": 1}, "end": {"line": lines.end + 1, "column": 1}}
            row["suggestions"] = [{"range": place, "text": clean("".join(f"{line}\n" for line in lines.lines))}]
        rows.append(json.dumps(row, ensure_ascii=False))
    return "".join(f"{row}\n" for row in rows)


def as_markdown(result: Review) -> str:
    """A report to read: files, findings, suggestions as diffs."""
    by_file = defaultdict(list)
    for finding in result.findings:
        by_file[finding.path].append(finding)
    lines = [f"# Review of {markdown(result.title)}", ""]
    if not result.findings:
        lines += ["Nothing was found.", ""]
    for path, findings in by_file.items():
        lines += [f"## `{controlled(path).replace('`', '')}`", ""]
        for finding in findings:
            need = "" if finding.need is None else f" ({finding.need:.0%})"
            lines += [f"- **line {finding.line}**{need}: {markdown(finding.comment) or 'needs a review'}"]
            if finding.suggestion is not None:
                fence = "`" * max(3, _longest_run(finding.suggestion.patch) + 1)
                lines += ["", f"{fence}diff", controlled(finding.suggestion.patch).rstrip("\n"), fence, ""]
        lines.append("")
    return "\n".join(lines)


def as_patch(result: Review) -> str:
    """All suggestions as one diff of the new files; empty where there is none.

    Of suggestions that change the same lines the first is kept: together they would not apply.
    """
    hunks: dict[str, list[Any]] = defaultdict(list)
    heads: dict[str, str] = {}
    for finding in result.findings:
        if finding.suggestion is None:
            continue
        [file] = parse_diff(finding.suggestion.patch).files
        for hunk in file.hunks:
            span = range(hunk.old_start, hunk.old_start + max(hunk.old_count, 1))
            if not any(span.start < other.stop and other.start < span.stop for other, _ in hunks[file.path]):
                hunks[file.path].append((span, hunk))
                heads[file.path] = file.head
    return "".join(heads[path] + "".join(h.render() for h in _shifted(found)) for path, found in hunks.items() if found)


def _shifted(found: list[Any]) -> list[Any]:
    """Hunks in order, each numbered as the ones before it move it."""
    moved, result = 0, []
    for _, hunk in sorted(found, key=lambda pair: pair[0].start):
        result.append(replace(hunk, new_start=hunk.new_start + moved, header=""))
        moved += hunk.new_count - hunk.old_count
    return result


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


WRITERS: dict[str, Callable[[Review], str]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
    "gitlab": as_gitlab,
    "rdjson": as_rdjson,
    "markdown": as_markdown,
    "html": page.render,
    "patch": as_patch,
}
