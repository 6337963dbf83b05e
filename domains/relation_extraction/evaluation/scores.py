"""The scores of what was extracted from gold documents: AutoRE's, DocRED's, dropped lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domains.relation_extraction.evaluation.docred import (
    TrainFacts,
    official_evaluate_benchmark,
    predictions_of,
    truth_of,
)
from domains.relation_extraction.evaluation.gold import Component, Gold
from domains.relation_extraction.inference.extraction import Extraction
from domains.relation_extraction.metrics import FactScores, score_facts, score_heads, score_relations
from domains.relation_extraction.model.schema import Schema
from suite.scores import Scores


@dataclass
class DropCounts:
    """How many lines each step dropped, by reason."""

    steps: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, extraction: Extraction) -> None:
        for answer in extraction.answers:
            reasons = self.steps.setdefault(answer.call.step, Counter())
            reasons.update(dropped.reason for dropped in answer.parsed.dropped)

    def to_dict(self) -> dict[str, dict[str, int]]:
        return {step: dict(reasons.most_common()) for step, reasons in self.steps.items() if reasons}


@dataclass
class Evaluation:
    """The scores of what was extracted from gold documents.

    Attributes:
        schema: gives the property ids of DocRED's score.
        component: the one step that is scored; None: the whole way from passage to triples.
    """

    schema: Schema
    component: Component | None = None
    documents: list[Any] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    submission: list[dict[str, Any]] = field(default_factory=list)
    drops: DropCounts = field(default_factory=DropCounts)
    calls: int = 0

    def add(self, gold: Gold, parts: Iterable[Extraction]) -> None:
        """Score one document.

        Args:
            parts: what its chunks gave, in order.
        """
        parts = list(parts)
        for part in parts:
            self.drops.add(part)
            self.calls += len(part.answers)
        if self.component == "relation":
            answers = (answer for part in parts for answer in part.answers if answer.call.step == "relation")
            names = (name for answer in answers for name in answer.parsed.items)
            self.documents.append(score_relations(gold.relations, names))
        elif self.component == "subject":
            heads: dict[str, dict[str, None]] = {}
            for part in parts:
                for relation, named in part.heads.items():
                    heads.setdefault(relation, {}).update(dict.fromkeys(named))
            self.documents.append(score_heads(gold.groups, heads))
        else:
            calls = [triples for part in parts for triples in part.facts_by_call]
            self.add_triples(gold, calls)

    def add_triples(self, gold: Gold, calls: Sequence[Iterable[tuple[str, str, str]]]) -> None:
        """Score the triples of one document, call by call."""
        if gold.groups:
            self.documents.append(score_facts(gold.groups, calls))
        pids = {relation.name: relation.pid for relation in self.schema}
        self.truth.append(truth_of(gold.source or gold.document))
        self.submission += predictions_of(gold.document, (triple for call in calls for triple in call), pids)

    @property
    def report(self) -> FactScores:
        return FactScores(tuple(self.documents))

    def to_dict(
        self, resamples: int = 1000, annotated: TrainFacts = frozenset(), distant: TrainFacts = frozenset()
    ) -> dict[str, Any]:
        """All scores: AutoRE's at the top, DocRED's under `docred`."""
        result: dict[str, Any] = {**self.report.to_dict(resamples), "calls": self.calls}
        result["dropped"] = self.drops.to_dict()
        if self.truth:
            score = official_evaluate_benchmark(self.submission, self.truth, annotated, distant)
            result["docred"] = score.to_dict()
        return result

    def scores_of(self, about: Mapping[str, Any], figures: Mapping[str, Any]) -> Scores:
        """What the verb answers and writes: metrics.json, per_relation.csv and the DocRED submission.

        Args:
            about: what was scored. figures: as `to_dict` gives them, with calls and seconds.
        """
        files = {"per_relation.csv": self.report.csv()}
        if self.truth:
            # What names no entity has no indices to submit; it lowers our precision, not the submission's.
            named = [one for one in self.submission if one["h_idx"] >= 0]
            files["submission.json"] = json.dumps(named, ensure_ascii=False) + "\n"
        return Scores(figures, about, files=files, message=_message({**about, **figures}, self))


def _message(result: Mapping[str, Any], evaluation: Evaluation) -> str:
    low, high = result["f1_interval"]
    what = f"{evaluation.component} step" if evaluation.component else "triples"
    lines = [
        f"{result['documents']} documents, {what}, protocol {result['protocol']}",
        f"tp {result['tp']:,}  fp {result['fp']:,}  miss {result['miss']:,}",
        f"AutoRE  P {result['precision']:.4f}  R {result['recall']:.4f}  F1 {result['f1']:.4f} "
        f"[{low:.4f}, {high:.4f}]  macro F1 {result['macro']['f1']:.4f}",
    ]
    if docred := result.get("docred"):
        lines.append(
            f"DocRED  P {docred['precision']:.4f}  R {docred['recall']:.4f}  F1 {docred['f1']:.4f}  "
            f"intra {docred['f1_intra']:.4f}  inter {docred['f1_inter']:.4f}"
        )
    for step, reasons in result["dropped"].items():
        lines.append(f"dropped in {step}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()))
    lines.append(f"{result['calls']:,} calls, {result['seconds']:.1f} s")
    return "\n".join([*lines, "", evaluation.report.table(20)])
