"""A model's answers to labelled cases, and the figures of each task with all variants by name. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from domains.code_review import metrics
from domains.code_review.data.encoding import prompt_of, shortened
from domains.code_review.data.examples import Example
from domains.code_review.inference.texts import tidy
from domains.code_review.model.wording import Task

if TYPE_CHECKING:
    from domains.code_review.inference.session import Session


@dataclass(frozen=True)
class Answered:
    """One case with what was answered.

    Attributes:
        prediction: the text; of a decision `yes` or `no`, or what else a model said.
        chance: of yes; None where only words are known.
        prompt: a hash of what was asked; empty where nothing was.
        cut: the case was too long and lost lines.
    """

    case: Example
    prediction: str
    chance: float | None = None
    prompt: str = ""
    cut: bool = False


def answered(session: Session, cases: Sequence[Example], decode: bool = False) -> list[Answered]:
    """Ask the adapter of the cases' task, all together.

    Args:
        decode: of decisions take the words that the model writes, as the paper did, in place of chances.
    """
    if not cases:
        return []
    task = cases[0].task
    prompts = [_prompt(session, case) for case in cases]
    asked = [prompt for prompt, _ in prompts]
    chances: list[float | None] = [None] * len(cases)
    if task == "necessity" and not decode:
        chances = list(session.chances(asked))
        texts = ["yes" if chance is not None and chance >= 0.5 else "no" for chance in chances]
    elif task == "refinement":
        found = session.refined(asked, [case.code for case in cases])
        texts = ["" if one is None else one.text.split("\n### ")[0] for one in found]
    else:
        texts = [tidy(one.text) for one in session.written(task, asked, 8 if task == "necessity" else None)]
    hashes = [hashlib.sha256(prompt.encode("utf-8", "surrogateescape")).hexdigest()[:16] for prompt in asked]
    return [
        Answered(case, text, chance, digest, cut)
        for case, text, chance, digest, (_, cut) in zip(cases, texts, chances, hashes, prompts, strict=True)
    ]


def _prompt(session: Session, case: Example) -> tuple[str, bool]:
    """A case's prompt, cut where there is no room for it, and whether it was."""
    template = session.templates[case.task]
    prompt = prompt_of(template, case)
    if session.leaves_room(prompt):
        return prompt, False
    if template.marks and case.hunk is not None:  # its last tokens go, as in the published code
        return prompt, True
    code = shortened(case, lambda text: session.leaves_room(prompt_of(template, case, text)))
    return prompt_of(template, case, code or ""), True


def decided(text: str) -> str:
    """The decision in a model's words: the first of them, `yes` or `no`; empty where it is neither."""
    word = next(iter(text.strip().lower().split()), "").strip(".,;:!'\"")
    return word if word in ("yes", "no") else ""


@dataclass(frozen=True)
class Judged:
    """The figures of answers.

    Attributes:
        figures: by full name. rows: one a case, for predictions.jsonl. languages: figures by language.
        sweep: of decisions with chances, the scores at every threshold.
        chances: of decisions, and what was right; empty elsewhere.
    """

    figures: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    languages: Sequence[Mapping[str, Any]]
    sweep: Sequence[Mapping[str, float]] = ()
    notices: tuple[str, ...] = ()

    def predictions(self) -> str:
        """The rows as JSON lines."""
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows)


def judged(task: Task, answers: Sequence[Answered], threshold: float = 0.5, resamples: int = 1000) -> Judged:
    """Score answers to the cases of one task.

    Args:
        threshold: of decisions with chances.
        resamples: of the bootstrap intervals.
    """
    return _decisions(answers, threshold, resamples) if task == "necessity" else _texts(task, answers, resamples)


def _decisions(answers: Sequence[Answered], threshold: float, resamples: int) -> Judged:
    gold = np.array([one.case.answer == "yes" for one in answers])
    words = [decided(one.prediction) for one in answers]
    known = all(one.chance is not None for one in answers)
    # What is no decision counts as a no.
    chances = np.array(
        [float(one.chance or 0) if known else float(word == "yes") for one, word in zip(answers, words, strict=True)]
    )
    found = metrics.necessity(gold, chances, threshold)
    right = (chances >= threshold) == gold
    figures: dict[str, Any] = {
        **found.of(1),
        "accuracy": found.accuracy,
        "accuracy_interval": metrics.bootstrap(right, resamples),
        "macro_f1": found.average()["f1-score"],
        "f1_interval": _f1_interval(gold, chances >= threshold, resamples),
        "confusion": [list(row) for row in found.confusion],
        "threshold": threshold,
        "n_unparsed": 0 if known else words.count(""),
    }
    rows, sweep = [], []
    if known:
        figures["auroc"] = metrics.auroc(gold, chances)
        best = max(metrics.sweep(gold, chances), key=lambda one: one.of(1)["f1-score"])
        figures |= {"best_threshold": best.threshold, "best_f1": best.of(1)["f1-score"]}
        for level in metrics.sweep(gold, chances):
            row = level.of(1)
            sweep.append(
                {"threshold": level.threshold, **{name: row[name] for name in ("precision", "recall", "f1-score")}}
            )
    for one, chance, correct in zip(answers, chances, right, strict=True):
        rows.append(_row(one) | {"chance": float(chance) if known else None, "right": bool(correct)})
    tables = []
    for language, places in _by_language(answers).items():
        part = metrics.necessity(gold[places], chances[places], threshold)
        tables.append({"language": language, "n": len(places), **part.of(1), "accuracy": part.accuracy})
    return Judged(figures | _counts(answers), rows, tables, sweep, found.notices)


def _texts(task: Task, answers: Sequence[Answered], resamples: int) -> Judged:
    code = task == "refinement"
    predictions, gold = [one.prediction for one in answers], [one.case.answer for one in answers]
    figures: dict[str, Any] = dict(metrics.report(predictions, gold, code))
    each = np.array([metrics.bleu_smooth_sentence([a], [b]) for a, b in zip(predictions, gold, strict=True)])
    figures["bleu_smooth_sentence_interval"] = metrics.bootstrap(each, resamples)
    same = np.array([metrics.exact_match([a], [b]) for a, b in zip(predictions, gold, strict=True)])
    if code:
        figures["exact match_interval"] = metrics.bootstrap(same, resamples)
        figures |= _codebleu(answers)
    rows = [
        _row(one) | {"bleu_smooth_sentence": float(score), "exact": bool(exact)}
        for one, score, exact in zip(answers, each, same, strict=True)
    ]
    tables = [
        {
            "language": language,
            "n": len(places),
            "bleu_smooth_sentence": float(each[places].mean()),
            "exact match": float(same[places].mean()),
        }
        for language, places in _by_language(answers).items()
    ]
    return Judged(figures | _counts(answers), rows, tables)


def _codebleu(answers: Sequence[Answered]) -> dict[str, float]:
    """CodeBLEU where all code is of one language that it knows."""
    from suite.code.codebleu import KEYWORDS, codebleu

    languages = {one.case.language for one in answers}
    if len(languages) != 1 or not languages <= set(KEYWORDS):
        return {}
    [language] = languages
    found = codebleu([one.prediction for one in answers], [one.case.answer for one in answers], language)  # type: ignore[arg-type]
    return {"codebleu": found.codebleu, "codebleu (strict)": found.strict}


def _row(one: Answered) -> dict[str, Any]:
    return {"id": one.case.id, "prompt": one.prompt, "prediction": one.prediction, "gold": one.case.answer}


def _counts(answers: Sequence[Answered]) -> dict[str, int]:
    return {"n": len(answers), "n_cut": sum(one.cut for one in answers)}


def _by_language(answers: Sequence[Answered]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(answers):
        found[one.case.language or "not told"].append(place)
    return dict(sorted(found.items()))


def _f1_interval(gold: Any, found: Any, resamples: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of F1 over resamples of the cases."""
    draws = np.random.default_rng(seed).integers(0, len(gold), (resamples, len(gold)))  # (resamples, n)
    both, either = (gold & found)[draws].sum(1), (gold[draws].sum(1) + found[draws].sum(1))
    low, high = np.percentile(2 * both / np.maximum(either, 1), [2.5, 97.5])
    return float(low), float(high)
