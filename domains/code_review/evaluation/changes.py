"""`evaluate` for the two tasks of commits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from domains.code_review import metrics
from domains.code_review.data.change_sources import commits
from domains.code_review.data.commits import Commit
from domains.code_review.evaluation import message_scores
from domains.code_review.model.change_manifest import ChangeTask
from domains.code_review.predict.commits import DefectPredictor, MessagePredictor
from domains.code_review.types import ChangeQuery
from suite.errors import InputError
from suite.scores import Scores
from suite.tables import records_jsonl


def evaluate_changes(
    task: ChangeTask,
    data: str,
    adapter: str,
    base: str | None,
    query: ChangeQuery,
    *,
    limit: int | None,
    skip_bad: int,
    device: str,
    dtype: str,
    resamples: int,
    seed: int,
) -> Scores:
    """Score an adapter of commits on labelled ones.

    Raises:
        InputError: data, adapter or options are wrong, or a commit lacks what is to be told of it.
    """
    started = time.perf_counter()
    cases = list(islice(commits(data, "test", seed, skip_bad), limit))
    if not cases:
        raise InputError(f"{data}: holds no commit")
    for case in cases:
        if case.defective is None if task == "defects" else not case.message.strip():
            raise InputError(f"{data}: commit {case.id} has no {'label' if task == 'defects' else 'message'}")
    about: dict[str, Any] = {"task": task, "data": data, "adapter": adapter}
    if task == "defects":
        predictor = DefectPredictor.from_pretrained(adapter, base, device, dtype)
        chances = predictor.chances(cases, query.batch_size)
        figures, rows = _defects(cases, chances, query.threshold, resamples)
    else:
        writer = MessagePredictor.from_pretrained(adapter, base, device, dtype)
        figures, rows = _messages(cases, writer.messages(cases, query), resamples)
    figures |= {"seconds": round(time.perf_counter() - started, 3)}
    return Scores(figures, about, title=f"Commits: {task}", files={"predictions.jsonl": records_jsonl(rows)})


def _defects(cases: Sequence[Commit], chances: Sequence[float], threshold: float, resamples: int) -> Any:
    gold = [int(bool(case.defective)) for case in cases]
    scored = metrics.necessity(gold, chances, threshold)
    found = scored.of(1)
    figures: dict[str, Any] = {
        "n": len(cases),
        "threshold": threshold,
        "precision": found["precision"],
        "recall": found["recall"],
        "f1": found["f1-score"],
        "auroc": metrics.auroc(gold, chances),
        "accuracy": scored.accuracy,
        "confusion": json.loads(json.dumps(scored.confusion)),
    }
    right = np.equal(np.asarray(chances) >= threshold, gold)
    figures["accuracy 95 %"] = list(metrics.bootstrap(right, resamples))
    rows = [
        {"id": case.id, "defective": bool(case.defective), "chance": chance}
        for case, chance in zip(cases, chances, strict=True)
    ]
    return figures, rows


def _messages(cases: Sequence[Commit], written: Sequence[str], resamples: int) -> Any:
    gold = [case.message.strip() for case in cases]
    figures: dict[str, Any] = {"n": len(cases), **message_scores.report(written, gold)}
    scores = [metrics.smooth_sentence(a, b) for a, b in zip(written, gold, strict=True)]
    figures["bleu_smooth_sentence 95 %"] = list(metrics.bootstrap(scores, resamples))
    rows = [
        {"id": case.id, "prediction": text, "gold": wanted, "bleu_smooth_sentence": score}
        for case, text, wanted, score in zip(cases, written, gold, scores, strict=True)
    ]
    return figures, rows
