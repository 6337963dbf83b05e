"""SARIF 2.1.0, the format in which code scanners tell their findings (OASIS, 2020)."""

from __future__ import annotations

from typing import Any

import suite
from domains.code_review.output.plain import clean, controlled, uri
from domains.code_review.types import Finding, Review

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
WARNING = 0.8
"""From this chance on a result is a warning, below a note."""

RULES = {
    "review/needs-review": "The change needs a reviewer's eye.",
    "review/comment": "A reviewer's comment on the change.",
}


def log(result: Review) -> dict[str, Any]:
    """The log of one review; a review without findings is a valid log, too."""
    placed = [finding for finding in result.findings if finding.side == "RIGHT" or finding.nearest is not None]
    names = list(dict.fromkeys([*RULES, *sorted({finding.rule for finding in placed})]))
    left_out = len(result.findings) - len(placed)
    notifications = [_notification(line) for line in result.notices]
    if left_out:
        notifications.append(_notification(f"{left_out} findings on deleted files have no place in the new tree"))
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "peft-suite code_review",
                        "version": suite.__version__,
                        "semanticVersion": suite.__version__,
                        "informationUri": "https://arxiv.org/abs/2308.11148",
                        "rules": [_rule(name) for name in names],
                    }
                },
                "originalUriBaseIds": {ROOT: {"description": {"text": "the root of the repository"}}},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notifications}],
                "results": [_result(finding, names) for finding in placed],
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    text = RULES.get(name, f"Found by the rule {name.rpartition('/')[2]}.")
    return {
        "id": name,
        "shortDescription": {"text": text},
        "helpUri": "https://arxiv.org/abs/2308.11148",
    }


def _result(finding: Finding, names: list[str]) -> dict[str, Any]:
    if finding.side == "RIGHT":
        region = {"startLine": finding.start_line or finding.line, "endLine": finding.line}
    else:
        assert finding.nearest is not None
        region = {"startLine": finding.nearest, "endLine": finding.nearest}
    need = finding.need
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": names.index(finding.rule),
        "level": "warning" if (need or 0.0) >= WARNING else "note",
        "message": {"text": controlled(finding.comment).strip() or "This change needs a review."},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(finding.path), "region": region}}],
        "partialFingerprints": {"hunkHash/v1": finding.fingerprint},
    }
    if need is not None:
        result["rank"] = round(100 * need, 2)
    if finding.side == "LEFT":
        result["properties"] = {
            "deletedLine": finding.line,
            "note": "on a deleted line; shown at the nearest that is left",
        }
    if finding.suggestion is not None:
        result["fixes"] = [_fix(finding)]
    return result


def _fix(finding: Finding) -> dict[str, Any]:
    lines = finding.suggestion
    assert lines is not None
    text = clean("".join(f"{line}\n" for line in lines.lines))
    region = {"startLine": lines.start, "startColumn": 1, "endLine": lines.end + 1, "endColumn": 1}
    replacement = {"deletedRegion": region, "insertedContent": {"text": text}}
    change = {"artifactLocation": _artifact(finding.path), "replacements": [replacement]}
    return {"description": {"text": "the suggested lines"}, "artifactChanges": [change]}


def _artifact(path: str) -> dict[str, str]:
    return {"uri": uri(path), "uriBaseId": ROOT}


def _notification(text: str) -> dict[str, Any]:
    return {"level": "note", "message": {"text": controlled(text)}}
