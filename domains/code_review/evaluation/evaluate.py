"""The verb `evaluate`: every figure of a task, each by its full name, of an adapter or of answers that are there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from domains.code_review.data.examples import Example
from domains.code_review.data.readers.records import json_object, read_lines, text_field
from domains.code_review.data.sources import examples
from domains.code_review.evaluation.changes import evaluate_changes
from domains.code_review.evaluation.scoring import Answered, Judged, answered, judged
from domains.code_review.model.wording import Task
from domains.code_review.types import ChangeQuery, ReviewQuery
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.scores import Drawn, Scores
from suite.tables import records_csv

DECODED = "greedy words"


def evaluate(
    data: str = "world:test:200",
    *,
    task: Literal["necessity", "comment", "refinement", "defects", "message"] = "necessity",
    adapter: str = "tiny",
    base: str | None = None,
    frozen: bool = False,
    predictions: Path | None = None,
    nearest: str | None = None,
    decode: bool = False,
    threshold: float | None = None,
    limit: int | None = None,
    skip_bad: int = 0,
    max_new_tokens: int = 128,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    resamples: int = 1000,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled cases: decisions, comments or refined code, every variant of a figure by name.

    Args:
        data: a file or folder of CodeReviewer's, a file of Tufano's, a part of one (`msg-test.jsonl[:100]`), or
            `world:test[:COUNT]`; with --predictions of lines, the file with the right answers, one a line.
        task: necessity, comment or refinement of reviews; defects or message of commits.
        adapter: reference of the adapter: of the task's own, or of a folder with one for each task.
        base: reference of its base; the one that the adapter names by default.
        frozen: ask the base without its adapters, with the same prompts.
        predictions: score these answers; needs no model. JSON lines with `id` and `prediction`, or plain lines beside
            those of `data` (preds.txt and golds.txt of the published code).
        nearest: score the baseline that repeats the comment of the most similar of these cases, e.g. `world:train`.
        decode: decide by the words that the model writes, as the paper did; what is neither yes nor no counts as no.
        threshold: a chance of at least this is a yes; the adapter's own where it is left out.
        limit: look at this many cases at most.
        skip_bad: broken lines of the data that are passed over.
        max_new_tokens: longest comment.
        batch_size: cases side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        resamples: of the bootstrap intervals.
        seed: of the made world.
        out: folder for metrics.json, predictions.jsonl, the tables, curves, and report.html.

    Raises:
        InputError: data, adapter or options are wrong, or the answers do not go with the data.
    """
    started = time.perf_counter()
    ResultFolder(out)  # told before anything is computed
    _check_numbers(limit=limit, resamples=resamples, skip_bad=skip_bad, threshold=threshold)
    _check_one_way(predictions=predictions, nearest=nearest, frozen=frozen, decode=decode)
    if task == "defects" or task == "message":
        if frozen or decode or predictions is not None or nearest is not None:
            raise InputError(f"--frozen, --decode, --predictions and --nearest are of reviews; the task is {task}")
        query = ChangeQuery(
            batch_size=batch_size, threshold=0.5 if threshold is None else threshold, max_new_tokens=max_new_tokens
        )
        given: dict[str, Any] = {"limit": limit, "skip_bad": skip_bad, "device": device, "dtype": dtype}
        return evaluate_changes(task, data, adapter, base, query, resamples=resamples, seed=seed, **given).answer(out)
    about: dict[str, Any] = {"task": task, "data": data}
    if predictions is not None and _of_lines(predictions):
        answers = _lines(predictions, Path(data), task)[:limit]
        about["predictions"] = str(predictions)
        return _scores(judged(task, answers, threshold or 0.5, resamples), task, about, started).answer(out)
    cases = list(islice(examples(data, task, "test", seed, skip_bad), limit))
    if not cases:
        raise InputError(f"{data}: holds no case of the task {task}")
    cut = 0.5 if threshold is None else threshold
    if predictions is not None:
        about["predictions"] = str(predictions)
        answers = _matched(predictions, cases)
    elif nearest is not None:
        from domains.code_review.evaluation.retrieval import Nearest

        about["nearest"] = nearest
        known = Nearest(list(examples(nearest, task, "train", seed, skip_bad)))
        answers = [Answered(case, text) for case, text in zip(cases, known.comments(cases), strict=True)]
    else:
        from domains.code_review.predict.reviewers import CodeReviewer
        from suite import adapters

        reviewer = CodeReviewer.for_task(task, adapter, base, device, dtype)
        about |= {"adapter": adapter, "base": reviewer.base, "frozen": frozen}
        cut = reviewer.threshold if threshold is None else threshold
        asked = ReviewQuery(max_new_tokens=max_new_tokens, batch_size=batch_size, cache=False)
        with adapters.disabled(reviewer.model) if frozen else nullcontext():
            answers = answered(reviewer.session(asked, bare=frozen), cases, decode)
    if decode:
        about["decided by"] = DECODED
    return _scores(judged(task, answers, cut, resamples), task, about, started).answer(out)


def _check_numbers(*, limit: int | None, resamples: int, skip_bad: int, threshold: float | None) -> None:
    for name, value, least in (("limit", limit, 1), ("resamples", resamples, 0), ("skip_bad", skip_bad, 0)):
        if value is not None and value < least:
            raise InputError(f"{name} is {value}; give {least} or more")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; give a number from 0 to 1")


def _check_one_way(**ways: Any) -> None:
    """Refuse what would be passed over: answers that are there and neighbours ask no model, nor each other."""
    given = [name for name, value in ways.items() if value]
    for first, why in (("predictions", "are answers that are there"), ("nearest", "asks no model")):
        if first in given and (others := [name for name in given if name != first]):
            raise InputError(f"--{first} {why}: leave --{others[0]} out")


def _scores(found: Judged, task: Task, about: dict[str, Any], started: float) -> Scores:
    figures = {**found.figures, "seconds": round(time.perf_counter() - started, 3)}
    files = {"predictions.jsonl": found.predictions()}
    pictures: dict[str, Drawn] = {}
    if found.sweep:
        files["thresholds.csv"] = records_csv(found.sweep)
        pictures["Precision and recall at every threshold"] = lambda folder: [_curve(found.sweep, folder)]
    elif task != "necessity":
        scores = [row["bleu_smooth_sentence"] for row in found.rows]
        pictures["bleu_smooth_sentence of every case"] = lambda folder: [_histogram(scores, folder)]
    return Scores(
        figures,
        about,
        title=f"Code review: {task}",
        tables={"per_language": found.languages},
        pictures=pictures,
        files=files,
        notices=found.notices,
    )


def _curve(sweep: Sequence[Any], folder: Path) -> Path:
    """Precision over recall, and both over the threshold."""
    from suite.media import plots

    points = [(row["recall"], row["precision"]) for row in sweep]
    figure = plots.curves({"every threshold": points}, title="Needs a review", x="recall", y="precision")
    return plots.save(figure, folder / "precision_recall.png")


def _histogram(scores: Sequence[float], folder: Path) -> Path:
    from suite.media import plots, style

    figure = style.figure(7, 3.6)
    axes = figure.subplots()
    axes.hist(scores, bins=20, range=(0, 100), color=style.PALETTE[0])
    axes.set_xlabel("bleu_smooth_sentence")
    axes.set_ylabel("cases")
    style.frame(axes)
    return plots.save(figure, folder / "bleu.png")


def _of_lines(path: Path) -> bool:
    """Whether a file of answers has nothing but one a line."""
    return path.suffix.lower() not in (".jsonl", ".json")


def _lines(predictions: Path, gold: Path, task: Task) -> list[Answered]:
    """Answers and right answers, line by line.

    Raises:
        InputError: there are not as many of both.
    """
    found, right = ([line for line in _text(path).split("\n")] for path in (predictions, gold))
    found, right = (lines[:-1] if lines and not lines[-1] else lines for lines in (found, right))
    if len(found) != len(right):
        raise InputError(
            f"{predictions} has {len(found)} lines and {gold} has {len(right)}; an answer of several lines does not go "
            "into a file of lines: use JSON lines with id and prediction"
        )
    return [
        Answered(Example(str(number), task, b), a) for number, (a, b) in enumerate(zip(found, right, strict=True), 1)
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error


def _matched(path: Path, cases: Sequence[Example]) -> list[Answered]:
    """The answers of a file of JSON lines, each with its case by id, never by place.

    Raises:
        InputError: a line is broken, names a case that is none, or a case has no answer.
    """
    answers: dict[str, Answered] = {}
    known = {case.id: case for case in cases}
    for where, line in read_lines(path):
        record = json_object(line, where)
        if "id" not in record:
            raise InputError(f"{where}: the key 'id' is missing")
        name = str(record["id"])
        if name not in known:
            raise InputError(f"{where}: id {name!r} is no case of the data")
        chance = record.get("chance")
        if chance is not None and not isinstance(chance, int | float):
            raise InputError(f"{where}: 'chance' is {json.dumps(chance)}, not a number")
        answers[name] = Answered(known[name], text_field(record, "prediction", where), chance)
    if missing := [case.id for case in cases if case.id not in answers]:
        raise InputError(f"{path}: no answer to {len(missing)} of {len(cases)} cases, e.g. id {missing[0]!r}")
    return [answers[case.id] for case in cases]
