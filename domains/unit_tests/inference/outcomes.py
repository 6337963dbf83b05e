"""What became of a run in the sandbox, from its report and from how it ended."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

from domains.unit_tests.inference.runs import Ended
from domains.unit_tests.types import Coverage, Focal, Reason


def outcome_of(report: dict[str, Any] | None, ended: Ended) -> tuple[Any, str]:
    """`passed`, or the reason why a run is none, with the last lines that it said."""
    said = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()[-2000:]
    if ended.reason:
        return ended.reason, said
    if report is None:
        killed = ended.code in (128 + 9, 128 + 24, 128 + 25)
        memory = "MemoryError" in said or "Cannot allocate memory" in said
        reason: Reason = "memory" if memory else ("timeout" if killed else "ended the process")
        return reason, said
    if report["collection"]:
        text = report["collection"][-1]
        return special(text) or ("import error" if "Error" in text else "error"), text
    rows = list(report["tests"].values())
    if not rows:
        return "error", "pytest found no test in it"
    for row in rows:
        if row["outcome"] != "passed":
            return special(row["said"]) or row["outcome"], row["said"]
    return "passed", ""


def special(text: str) -> Reason | None:
    """The reasons behind an exception that the sandbox itself brought about."""
    if "MemoryError" in text:
        return "memory"
    if any(mark in text for mark in ("Network is unreachable", "Name or service not known", "name resolution")):
        return "network"
    return None


def coverage_of(found: dict[str, Any] | None) -> Coverage:
    if found is None:
        return Coverage()
    return Coverage(
        frozenset(found["executed"]),
        frozenset(found["missing"]),
        frozenset((start, end) for start, end in found["branches"]),
        frozenset((start, end) for start, end in found["missed_branches"]),
    )


def own_lines(focal: Focal) -> set[int]:
    """The lines of a function's body."""
    [node] = ast.parse(textwrap.dedent(focal.source)).body
    body = node.body  # type: ignore[attr-defined]
    start = body[0].lineno if len(body) == 1 or not isinstance(body[0], ast.Expr) else body[1].lineno
    return set(range(focal.first + start - 1, focal.last + 1))
