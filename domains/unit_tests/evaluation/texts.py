"""Figures of generated tests as texts beside reference tests, as the study prints them; nothing is run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domains.unit_tests.data import problems
from domains.unit_tests.data.sources import TextPair, pair_of, records
from domains.unit_tests.inference.braces import closed_at
from domains.unit_tests.inference.candidates import parsed
from domains.unit_tests.inference.indents import ended, finished
from domains.unit_tests.inference.java_repair import repair
from domains.unit_tests.predict import TestWriter
from domains.unit_tests.types import WriterQuery
from suite.code.codebleu import codebleu
from suite.code.syntax import Language
from suite.errors import InputError

TESTS = 3
"""Of an answer in Python."""


@dataclass(frozen=True)
class Predicted:
    """A reference and what a model wrote.

    Attributes:
        others: its further answers, where several were drawn.
    """

    id: str
    source: str
    reference: str
    prediction: str
    others: tuple[str, ...] = ()


def read_predictions(data: Path, predictions: Path | None = None) -> list[Predicted]:
    """Pairs with what a model made of them.

    Args:
        data: records with a source and a target, or as the study's archives have them: prompt, reference, prediction.
        predictions: records with id and prediction; of an id that stands there twice the first counts, as in the study.

    Raises:
        InputError: a file is damaged, or an id of the data has no prediction.
    """
    given: dict[str, str] = {}
    for where, record in records(predictions) if predictions else ():
        if not isinstance(record.get("prediction"), str):
            raise InputError(f"{where}: has no text under 'prediction'; wanted are id and prediction")
        given.setdefault(str(record.get("id")), record["prediction"])
    found = []
    for where, record in records(data):
        pair = pair_of({**record, **_renamed(record)}, where)
        own = given.get(pair.id) if predictions else record.get("prediction")
        if not isinstance(own, str):
            raise InputError(f"{where}: there is no prediction for {pair.id}; the files do not belong together")
        found.append(Predicted(pair.id, pair.source, pair.target, own))
    return found


def _renamed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"source": record["prompt"], "target": record["reference"]} if {"prompt", "reference"} <= set(record) else {}


def with_examples(pairs: Iterable[TextPair], examples: Sequence[TextPair], count: int, seed: int) -> list[TextPair]:
    """Pairs whose sources begin with solved ones, drawn anew for each: in-context learning, without any training.

    Raises:
        InputError: there are too few to draw from.
    """
    found, draws = [], random.Random(seed)
    for pair in pairs:
        others = [one for one in examples if one.source != pair.source]
        if len(others) < count:
            raise InputError(f"--shots {count}: --shots-from has {len(others)} other pairs than the one that is asked")
        solved = "".join(f"{one.source}{one.target}\n\n" for one in draws.sample(others, count))
        found.append(TextPair(pair.id, solved + pair.source, pair.target))
    return found


def predict(writer: TestWriter, pairs: Iterable[TextPair], query: WriterQuery) -> tuple[list[Predicted], int]:
    """What a model makes of the sources; and how many were left out since they do not fit its context."""
    room = writer.room - query.max_new_tokens
    wanted = list(pairs)
    kept = [pair for pair in wanted if writer.length(pair.source) <= room]
    ends = [_ends(pair.source) for pair in kept]
    answers = writer.answers([pair.source for pair in kept], query, ends)
    found = []
    for pair, drawn in zip(kept, answers, strict=True):
        first, *others = [_cut(pair.source, answer.text, answer.complete) for answer in drawn]
        found.append(Predicted(pair.id, pair.source, pair.target, first, tuple(others)))
    return found, len(wanted) - len(kept)


def language_of(source: str) -> Language:
    if problems.is_problem(source):
        return "python"
    return "python" if source.rpartition("\n")[2].startswith(("def test", "async def test")) else "java"


def figures(found: Sequence[Predicted], parity: bool = False) -> dict[str, Any]:
    """Valid syntax, CodeBLEU of what is valid after the repair, and exact matches.

    Args:
        parity: of Java: repair as the study does, also where that is wrong.

    Raises:
        InputError: there is nothing, or the sources are of two languages.
    """
    languages = {language_of(one.source) for one in found}
    if len(languages) != 1:
        raise InputError(f"the data hold {len(found)} pairs in {' and '.join(sorted(languages)) or 'no language'}")
    [language] = languages
    unique = [_unfenced(one) for one in list({one.id: one for one in reversed(found)}.values())[::-1]]
    if language == "java":
        repaired = [repair(one.prediction, parity) for one in unique]
        valid = [one.valid for one in repaired]
        # A body that ends with its method leaves the class open, which is no fault of the model.
        raw = [
            one.parsed or repair(f"{given.prediction}\n}}").parsed for one, given in zip(repaired, unique, strict=True)
        ]
        bodies = [one.body for one in repaired]
    else:
        raw = [parsed(_opening(one.source) + one.prediction) for one in unique]
        valid, bodies = raw, [one.prediction for one in unique]
    kept = [(body, one.reference) for body, one, good in zip(bodies, unique, valid, strict=True) if good]
    score = codebleu([body for body, _ in kept], [wanted for _, wanted in kept], language) if kept else None
    exact = sum(one.prediction.split() == one.reference.split() for one in unique)
    samples = min(1 + len(one.others) for one in unique)
    any_exact = sum(
        any(text.split() == one.reference.split() for text in (one.prediction, *one.others)) for one in unique
    )
    return {
        "pairs": len(unique),
        "language": language,
        "valid_syntax": sum(valid) / len(unique),
        "parses_as_it_is": sum(raw) / len(unique),
        "exact_match": exact / len(unique),
        **({f"exact_match@{samples}": any_exact / len(unique)} if samples > 1 else {}),
        "codebleu": score.codebleu if score else 0.0,
        "codebleu_strict": score.strict if score else 0.0,
        "parts": {
            name: getattr(score, name) if score else 0.0 for name in ("ngram", "weighted_ngram", "syntax", "dataflow")
        },
        "scored": len(kept),
        "grammar": score.grammar if score else "",
    }


def _opening(source: str) -> str:
    return source.rpartition("\n")[2]


def _unfenced(one: Predicted) -> Predicted:
    """Of problems the code alone, on both sides."""
    if not problems.is_problem(one.source):
        return one
    code = [problems.unfenced(text) for text in (one.reference, one.prediction, *one.others)]
    return replace(one, reference=code[0], prediction=code[1], others=tuple(code[2:]))


def _ends(source: str) -> Any:
    if problems.is_problem(source):
        return lambda text: problems.FENCE in text
    if language_of(source) == "java":
        return lambda text: closed_at(text) is not None
    return lambda text: ended(_opening(source) + text, TESTS)


def _cut(source: str, text: str, complete: bool) -> str:
    if problems.is_problem(source):
        return problems.unfenced(text)
    if language_of(source) == "java":
        return text[: closed_at(text)]
    opening = _opening(source)
    return finished(opening + text, TESTS, complete).removeprefix(opening)
