"""Figures of generated tests and code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from suite.errors import InputError

ASSERTING = ("assert", "verify", "fail")
"""The study takes a test that has none of these words for one without an assertion."""


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that one of k samples is right, without bias: 1 - C(n - c, k) / C(n, k).

    Args:
        samples: n, how many were drawn. right: c of them are right.

    Raises:
        InputError: k is more than were drawn, or more are right than there are.

    Source: arXiv 2107.03374, equation 1.
    """
    if not 0 <= right <= samples or not 0 < k <= samples:
        raise InputError(f"pass@{k} of {samples} samples with {right} right: k and c lie in 1 to n and 0 to n")
    if samples - right < k:
        return 1.0
    return 1.0 - prod(1.0 - k / n for n in range(samples - right + 1, samples + 1))


@dataclass(frozen=True)
class Execution:
    """Figures of tests that were run.

    Attributes:
        denominator: tests that count; those that were skipped or broke the tool do not.
        successes: tests that passed and assert something.
        passing_rate: successes of the denominator.
        instruction_coverage, branch_coverage: of the focal method, mean over successes; None where none says it.
        branch_coverage_where_any: the same over methods that have branches: others count 0 in the study's figure.
        mutation_score: mean over successes with a report. mutation_rows: how many that are.
    """

    denominator: int
    successes: int
    passing_rate: float | None
    instruction_coverage: float | None
    branch_coverage: float | None
    branch_coverage_where_any: float | None
    mutation_score: float | None
    mutation_rows: int


def execution(rows: Iterable[Mapping[str, Any]], predictions: Mapping[str, str] | None = None) -> Execution:
    """Sum up runs as the study does.

    Args:
        rows: of each test its `id`, `status` and, where known, `instruction_coverage`, `branch_coverage`, `branches`
            (how many the focal method has) and `mutation_score`.
        predictions: the tests' texts by id; those that passed without an assertion count as failed.
    """
    counted = [dict(row) for row in rows]
    for row in counted:
        text = (predictions or {}).get(row["id"])
        if row["status"] == "success" and text is not None and not asserts(text):
            row["status"] = "failed"
    counted = [row for row in counted if row["status"] not in ("exception", "skipped")]
    passed = [row for row in counted if row["status"] == "success"]
    mutated = [row for row in passed if row.get("mutation_score") is not None]
    branching = [row for row in passed if row.get("branches", 1)]
    return Execution(
        denominator=len(counted),
        successes=len(passed),
        passing_rate=len(passed) / len(counted) if counted else None,
        instruction_coverage=_mean(passed, "instruction_coverage"),
        branch_coverage=_mean(passed, "branch_coverage"),
        branch_coverage_where_any=_mean(branching, "branch_coverage"),
        mutation_score=_mean(mutated, "mutation_score"),
        mutation_rows=len(mutated),
    )


def asserts(test: str) -> bool:
    """Whether a test asserts something by the study's rule: one of three words stands in it, anywhere."""
    return any(word in test.lower() for word in ASSERTING)


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None
