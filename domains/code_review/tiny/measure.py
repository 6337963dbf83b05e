"""What the tiny adapters reach on repositories of the made world that they were not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from domains.code_review import metrics
from domains.code_review.data import world
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.evaluation.scoring import answered
from domains.code_review.inference.suggestions import applies
from domains.code_review.predict.reviewers import CodeReviewer
from domains.code_review.tiny.behaviour import passes
from domains.code_review.types import ReviewQuery
from suite import adapters
from suite.code.faults import fault_named
from suite.code.repositories import Change, Repository, Split, repositories

Figures = dict[str, float]


def necessity(reviewer: CodeReviewer, split: Split, count: int, frozen: bool = False, seed: int = 0) -> Figures:
    """How well hunks with a fault are told from those without: area under the ROC curve, F1, the best threshold."""
    cases = list(islice(world.examples(split, "necessity", seed), count))
    with adapters.disabled(reviewer.model) if frozen else nullcontext():
        found = answered(reviewer.session(ReviewQuery(batch_size=32, cache=False), bare=frozen), cases)
    gold = [one.case.answer == "yes" for one in found]
    chances = [one.chance or 0.0 for one in found]
    best = max(metrics.sweep(gold, chances), key=lambda one: one.of(1)["f1-score"])
    own = metrics.necessity(gold, chances, reviewer.threshold)
    return {
        "auroc": metrics.auroc(gold, chances),
        "f1": own.of(1)["f1-score"],
        "best_f1": best.of(1)["f1-score"],
        "best_threshold": best.threshold,
        "hunks": len(gold),
    }


def comments(reviewer: CodeReviewer, split: Split, count: int, frozen: bool = False, seed: int = 0) -> Figures:
    """How many comments on hunks with a fault name its kind, and how many are word for word the reviewer's."""
    cases = list(islice(world.examples(split, "comment", seed), count))
    query = ReviewQuery(batch_size=32, max_new_tokens=64, cache=False)
    with adapters.disabled(reviewer.model) if frozen else nullcontext():
        found = answered(reviewer.session(query, bare=frozen), cases)
    named = [fault_named(one.prediction) == fault_named(one.case.answer) for one in found]
    same = [one.prediction == one.case.answer for one in found]
    return {"right_kind": sum(named) / len(named), "word_for_word": sum(same) / len(same), "comments": len(named)}


def suggestions(reviewer: CodeReviewer, split: Split, count: int, seed: int = 0) -> Figures:
    """How many suggestions on changes with a fault apply and make the repository's tests pass, all from the diff alone.

    Every faulty change counts, also where the models said nothing.
    """
    chosen = list(islice(_faulty(split, seed), count))
    reached: Counter[str] = Counter()
    for repository, change in chosen:
        files = list(parse_diff(change.diff))
        for finding in reviewer.review(files, threshold=0.0, batch_size=32, max_new_tokens=64):
            if finding.suggestion is None:
                continue
            after = applies(finding.suggestion.patch.encode(), change.after.encode())
            reached["applies"] += after is not None
            if after is not None and passes(after.decode(), change.right, _tests(repository, change)):
                reached["passes"] += 1
            break
    return {**{name: reached[name] / len(chosen) for name in ("applies", "passes")}, "changes": len(chosen)}


def _faulty(split: Split, seed: int) -> Any:
    for repository in repositories(seed, split):
        for change in repository.changes():
            if change.fault:
                yield repository, change


def _tests(repository: Repository, change: Change) -> str:
    [module] = [module for module in repository.modules if module.path == change.path]
    return module.tests


def table(reviewer: CodeReviewer, parts: Sequence[str], split: Split = "test", seed: int = 0) -> dict[str, Figures]:
    """The figures that the card tells."""
    found: dict[str, Figures] = {}
    if "necessity" in parts:
        found["necessity"] = necessity(reviewer, split, 300, seed=seed)
        found["necessity, frozen base"] = necessity(reviewer, split, 150, frozen=True, seed=seed)
    if "comment" in parts:
        found["comment"] = comments(reviewer, split, 120, seed=seed)
    if "refinement" in parts:
        found["suggestion"] = suggestions(reviewer, split, 60, seed=seed)
    return found
