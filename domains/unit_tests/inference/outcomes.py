"""What became of a run in the sandbox, from its report and from how it ended."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from domains.unit_tests.data.python_text import definitions
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


def advice(why: str, project: Path) -> str:
    """What to do about a module that cannot be imported.

    Args:
        why: as `Judge.check` found it.
    """
    if "No module named" in why:
        missing = why.rpartition("No module named ")[2].strip().strip("'")
        if any((folder / missing.partition(".")[0]).is_dir() for folder in (project.parent, project / "lib")):
            return "is another folder the project? --project names the one that tests are run from"
        return (
            "what it needs must be installed beside the suite, or in an image (--runner docker); or write tests "
            "unverified with --no-run"
        )
    if "relative import" in why:
        return "--project names the folder that tests are run from: the one that its whole package lies in"
    return "what a module does when it is imported belongs below `if __name__ == '__main__':`"


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
    """The lines of a function's body; of overloads that of what they are of."""
    found: set[int] = set()
    for node in definitions(focal.source):
        body = node.body
        start = body[0].lineno if len(body) == 1 or not isinstance(body[0], ast.Expr) else body[1].lineno
        if not any(ast.unparse(mark).rpartition(".")[2] == "overload" for mark in node.decorator_list):
            found |= set(range(focal.first + start - 1, focal.first + (node.end_lineno or start)))
    return found
