"""The official scores of DocRED and Re-DocRED (spec section 7.2), and how triples of strings become their predictions.

Records are those of the data sets: a truth document has `title`, `vertexSet` and `labels`; a prediction has `title`,
`h_idx`, `t_idx`, `r` and perhaps `evidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from domains.relation_extraction.data.documents import Document
from suite.errors import InputError

Key = tuple[str, str, int, int]
"""`(title, relation, head index, tail index)`."""

TrainFacts = frozenset[tuple[str, str, str]]
"""`(head name, tail name, relation)` of every alias pair of every training fact."""

FREQUENT = frozenset({"P17", "P131", "P27", "P150", "P175", "P577", "P463", "P527", "P495", "P361"})
"""The relations that Re-DocRED's benchmark calls frequent; all others are its long tail."""

_IN_TRAIN = 1e-5  # what the official code adds to the denominator of the Ign precision


@dataclass(frozen=True)
class DocredScore:
    """What `official_evaluate` returns; `ign_f1_*` leave out facts that the train file states."""

    f1: float = 0.0
    evidence_f1: float = 0.0
    ign_f1_annotated: float = 0.0
    ign_f1_distant: float = 0.0
    precision: float = 0.0
    recall: float = 0.0

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class BenchmarkScore(DocredScore):
    """What `official_evaluate_benchmark` returns: also by frequency and by distance.

    A pair is intra when some sentence names both ends, else inter.
    """

    f1_freq: float = 0.0
    f1_long_tail: float = 0.0
    f1_intra: float = 0.0
    f1_inter: float = 0.0
    p_freq: float = 0.0
    r_freq: float = 0.0
    p_long_tail: float = 0.0
    r_long_tail: float = 0.0


def train_facts(documents: Iterable[Mapping[str, Any]]) -> TrainFacts:
    """Return the facts of a train file, as strings. They are never cached by file name: such a cache goes stale."""
    return frozenset(
        (head["name"], tail["name"], label["r"])
        for document in documents
        for label in document.get("labels", ())
        for head in document["vertexSet"][label["h"]]
        for tail in document["vertexSet"][label["t"]]
    )


def official_evaluate(
    predictions: Iterable[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    annotated: TrainFacts = frozenset(),
    distant: TrainFacts = frozenset(),
) -> DocredScore:
    """Score a submission. Copies of a prediction count once; unknown titles count as wrong.

    Raises:
        InputError: two gold documents have one title.
    """
    return _Evaluation(predictions, truth).score(annotated, distant)


def official_evaluate_benchmark(
    predictions: Iterable[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    annotated: TrainFacts = frozenset(),
    distant: TrainFacts = frozenset(),
) -> BenchmarkScore:
    """Score a submission also by frequency and distance.

    Two mistakes of the official function are not repeated: it drops a submission of exactly one prediction, and fails
    on unknown titles (here they are wrong, and neither intra nor inter).

    Raises:
        InputError: two gold documents have one title.
    """
    return _Evaluation(predictions, truth).benchmark(annotated, distant)


class _Evaluation:
    def __init__(self, predictions: Iterable[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]) -> None:
        self.vertices: dict[str, Any] = {}
        self.gold: dict[Key, set[int]] = {}
        self.gold_evidence = 1  # the official counter starts at 1
        for document in truth:
            title = document["title"]
            if title in self.vertices:
                raise InputError(f'gold document "{title}" is there twice; titles must differ')
            self.vertices[title] = document["vertexSet"]
            for label in document.get("labels", ()):
                evidence = set(label.get("evidence", ()))
                self.gold[title, label["r"], label["h"], label["t"]] = evidence
                self.gold_evidence += len(evidence)
        # Of copies that differ in their evidence the first one stays, as after the official stable sort.
        self.predicted: dict[Key, set[int]] = {}
        for one in predictions:
            key = (one["title"], one["r"], one["h_idx"], one["t_idx"])
            self.predicted.setdefault(key, set(one.get("evidence") or ()))

    def score(self, annotated: TrainFacts, distant: TrainFacts) -> DocredScore:
        if not self.predicted:
            return DocredScore()
        correct = self.predicted.keys() & self.gold.keys()
        precision, recall, f1 = self._share(lambda key: True)
        common = sum(len(self.gold[key] & self.predicted[key]) for key in correct)
        given = sum(len(evidence) for key, evidence in self.predicted.items() if key[0] in self.vertices)
        return DocredScore(
            f1,
            _f1(common / given if given else 0.0, common / self.gold_evidence),
            self._without_train(correct, annotated, recall),
            self._without_train(correct, distant, recall),
            precision,
            recall,
        )

    def benchmark(self, annotated: TrainFacts, distant: TrainFacts) -> BenchmarkScore:
        whole = self.score(annotated, distant)
        p_freq, r_freq, f1_freq = self._share(lambda key: key[1] in FREQUENT)
        p_tail, r_tail, f1_tail = self._share(lambda key: key[1] not in FREQUENT)
        intra = self._share(lambda key: self._distance(key) == 0)[2]
        inter = self._share(lambda key: (self._distance(key) or 0) > 0)[2]
        return BenchmarkScore(
            **asdict(whole),
            f1_freq=f1_freq,
            f1_long_tail=f1_tail,
            f1_intra=intra,
            f1_inter=inter,
            p_freq=p_freq,
            r_freq=r_freq,
            p_long_tail=p_tail,
            r_long_tail=r_tail,
        )

    def _share(self, belongs: Callable[[Key], bool]) -> tuple[float, float, float]:
        """Precision, recall and F1 among the gold facts and predictions that belong."""
        gold = {key for key in self.gold if belongs(key)}
        predicted = {key for key in self.predicted if belongs(key)}
        correct = len(gold & predicted)
        precision = correct / len(predicted) if predicted else 0.0
        recall = correct / len(gold) if gold else 0.0
        return precision, recall, _f1(precision, recall)

    def _without_train(self, correct: Iterable[Key], facts: TrainFacts, recall: float) -> float:
        """Ign F1: precision without the correct predictions that some alias pair states in train; ordinary recall."""
        known = sum(self._stated(key, facts) for key in correct)
        right = len(self.predicted.keys() & self.gold.keys()) - known
        return _f1(right / (len(self.predicted) - known + _IN_TRAIN), recall)

    def _stated(self, key: Key, facts: TrainFacts) -> bool:
        title, relation, head, tail = key
        vertices = self.vertices[title]
        return any((h["name"], t["name"], relation) in facts for h in vertices[head] for t in vertices[tail])

    def _distance(self, key: Key) -> int | None:
        """Fewest sentences between mentions of the two ends; None where an end is no entity of the document."""
        title, _, head, tail = key
        vertices = self.vertices.get(title, ())
        if not (0 <= head < len(vertices) and 0 <= tail < len(vertices)):
            return None
        return min(abs(h["sent_id"] - t["sent_id"]) for h in vertices[head] for t in vertices[tail])


def _f1(precision: float, recall: float) -> float:
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def truth_of(document: Document) -> dict[str, Any]:
    """A labelled document as a record of the data sets; relations are property ids where known, else names."""
    return {
        "title": document.id,
        "vertexSet": [
            [{"name": mention.text, "sent_id": mention.sentence or 0} for mention in entity.mentions]
            for entity in document.entities
        ],
        "labels": [
            {"h": fact.head, "t": fact.tail, "r": fact.pid or fact.relation, "evidence": list(fact.evidence)}
            for fact in document.facts
        ],
    }


def predictions_of(
    document: Document, triples: Iterable[tuple[str, str, str]], pids: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """Triples of strings as predictions: every pair of different entities that have these names.

    A triple whose head or tail names no entity becomes a prediction that cannot match (negative indices), so that it
    stays in the denominator of the precision.

    Args:
        document: refined, as the triples were generated from (see `documents.refine`).
        pids: property id of each relation name; None: the name itself is used.
    """
    named: dict[str, list[int]] = {}
    for index, entity in enumerate(document.entities):
        for name in entity.names:
            named.setdefault(name, []).append(index)
    predictions = []
    for number, (head, relation, tail) in enumerate(dict.fromkeys(triples), 1):
        pairs = [(one, other) for one in named.get(head, ()) for other in named.get(tail, ()) if one != other]
        for one, other in pairs or [(-number, -number)]:
            record = {"title": document.id, "h_idx": one, "t_idx": other, "r": pids.get(relation) or relation}
            predictions.append(record)
    return predictions


def triples_of(
    document: Document, predictions: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Predictions of one document as triples of strings: the first name of head and tail.

    Args:
        names: relation name of each property id; other relations keep what they are called.

    Raises:
        InputError: an index is outside of the document's entities.
    """
    triples = []
    for one in predictions:
        ends = []
        for field in ("h_idx", "t_idx"):
            index = one[field]
            if not 0 <= index < len(document.entities):
                raise InputError(
                    f'prediction for "{document.id}": {field} {index} is outside of its {len(document.entities)} '
                    "entities; predict on the same file that is evaluated"
                )
            ends.append(document.entities[index].names[0])
        triples.append((ends[0], names.get(one["r"], one["r"]), ends[1]))
    return triples
