"""AutoRE's scores (spec section 7.1): facts, relations and heads against gold groups of alias triples.

One document gives a `DocumentScore`; `FactScores` sums them: micro, macro, per relation, with a confidence interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from domains.relation_extraction.data.refinement import Group
from suite.tables import records_csv

StringTriple = tuple[str, str, str]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and misses, and what follows from them; every ratio of nothing is 0."""

    tp: int = 0
    fp: int = 0
    miss: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.miss + other.miss)

    @property
    def all(self) -> int:
        return self.tp + self.miss

    @property
    def precision(self) -> float:
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        return self.tp / self.all if self.all else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.recall * self.precision / (self.recall + self.precision) if self.tp else 0.0

    def to_dict(self) -> dict[str, float]:
        return {
            "tp": self.tp,
            "fp": self.fp,
            "miss": self.miss,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


@dataclass(frozen=True)
class DocumentScore:
    """The score of one document.

    Attributes:
        relations: counts by relation name.
        matched: indices of the gold groups that were found.
        wrong: the items that match nothing, as often as they count.
    """

    relations: Mapping[str, Counts]
    matched: tuple[int, ...] = ()
    wrong: tuple[object, ...] = ()

    @cached_property
    def total(self) -> Counts:
        return sum(self.relations.values(), Counts())


def score_facts(groups: Sequence[Group], calls: Iterable[Iterable[StringTriple]]) -> DocumentScore:
    """Score the triples of one document, call after call.

    A triple is right once for every gold group that holds it and is not matched yet; it is wrong when no group holds
    it, again for each call that gives it; a further hit on matched groups is neither.

    Args:
        groups: the document's facts (see `documents.alias_groups`).
        calls: the triples of each fact call; within a call they are distinct.
    """
    holders: dict[StringTriple, list[int]] = {}
    for index, group in enumerate(groups):
        for triple in group.triples:
            holders.setdefault(triple, []).append(index)
    matched: dict[int, None] = {}
    wrong: list[StringTriple] = []
    for triples in calls:
        for triple in triples:
            if triple in holders:
                matched.update(dict.fromkeys(holders[triple]))
            else:
                wrong.append(triple)
    tp = Counter(groups[index].relation for index in matched)
    miss = Counter(group.relation for index, group in enumerate(groups) if index not in matched)
    fp = Counter(relation for _, relation, _ in wrong)
    return DocumentScore(_counts(tp, fp, miss), tuple(matched), tuple(wrong))


def score_relations(gold: Iterable[str], predicted: Iterable[str]) -> DocumentScore:
    """Score the relation step of one document: names against the set of gold names."""
    wanted, found = set(gold), dict.fromkeys(predicted)
    wrong = tuple(name for name in found if name not in wanted)
    tp, miss = Counter(name for name in found if name in wanted), Counter(wanted - found.keys())
    return DocumentScore(_counts(tp, Counter(wrong), miss), wrong=wrong)


def score_heads(groups: Sequence[Group], heads: Mapping[str, Iterable[str]]) -> DocumentScore:
    """Score the subject step of one document, in units of facts.

    A head is right once for each group of its relation that it heads and that no earlier head matched, otherwise wrong
    when it heads none.

    Args:
        heads: the predicted heads of each relation that was asked about; other relations are not scored.
    """
    tp: Counter[str] = Counter()
    fp: Counter[str] = Counter()
    miss: Counter[str] = Counter()
    matched: set[int] = set()
    wrong: list[tuple[str, str]] = []
    for relation, names in heads.items():
        own = [index for index, group in enumerate(groups) if group.relation == relation]
        for name in names:
            hits = {index for index in own if name in groups[index].heads}
            tp[relation] += len(hits - matched)
            matched |= hits
            if not hits:
                fp[relation] += 1
                wrong.append((relation, name))
        miss[relation] = len(own) - tp[relation]
    return DocumentScore(_counts(tp, fp, miss), tuple(sorted(matched)), tuple(wrong))


@dataclass(frozen=True)
class FactScores:
    """The scores of a data set."""

    documents: tuple[DocumentScore, ...]

    @cached_property
    def micro(self) -> Counts:
        return sum((score.total for score in self.documents), Counts())

    @cached_property
    def relations(self) -> dict[str, Counts]:
        """Counts by relation name, in alphabetical order."""
        summed: dict[str, Counts] = {}
        for score in self.documents:
            for name, counts in score.relations.items():
                summed[name] = summed.get(name, Counts()) + counts
        return dict(sorted(summed.items()))

    @property
    def macro(self) -> dict[str, float]:
        """Mean precision, recall and F1 over the relations that the gold data have."""
        rows = [counts for counts in self.relations.values() if counts.all]
        return {
            name: float(np.mean([getattr(row, name) for row in rows])) if rows else 0.0
            for name in ("precision", "recall", "f1")
        }

    @property
    def unscored(self) -> tuple[str, ...]:
        """Relations that were predicted but that no gold document has; AutoRE's script fails on some of them."""
        return tuple(name for name, counts in self.relations.items() if not counts.all)

    def interval(self, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Bootstrap confidence interval of micro F1, over documents.

        Returns:
            lower and upper bound; both are the F1 itself where `resamples` is 0 or there is no document.
        """
        if not self.documents or resamples < 1:
            return self.micro.f1, self.micro.f1
        table = np.array([(score.total.tp, score.total.fp, score.total.miss) for score in self.documents], np.int64)
        chosen = np.random.default_rng(seed).integers(len(table), size=(resamples, len(table)))
        tp, fp, miss = (table[:, column][chosen].sum(1) for column in range(3))
        # 2PR / (P + R) in counts; nothing found and nothing to find is 0, as above.
        f1 = 2 * tp / np.maximum(2 * tp + fp + miss, 1)
        low, high = np.quantile(f1, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def to_dict(self, resamples: int = 1000) -> dict[str, object]:
        """Everything but the table, ready for `json.dumps`."""
        interval = self.interval(resamples)
        return {
            **self.micro.to_dict(),
            "macro": self.macro,
            "f1_interval": list(interval),
            "documents": len(self.documents),
            "unscored_relations": list(self.unscored),
        }

    def csv(self) -> str:
        """The table per relation as CSV, the sum in the last row."""
        rows = (*self.relations.items(), ("(micro)", self.micro))
        return records_csv({"relation": name, "all": counts.all, **counts.to_dict()} for name, counts in rows)

    def table(self, most: int | None = None) -> str:
        """The table per relation for a terminal: the relations with most gold facts first, at most `most` of them."""
        rows = sorted(self.relations.items(), key=lambda row: (-row[1].all, row[0]))[:most]
        width = max((len(name) for name, _ in rows), default=8)
        lines = [f"{'relation':<{width}}  {'all':>6} {'tp':>6} {'fp':>6}  {'P':>6} {'R':>6} {'F1':>6}"]
        lines += [
            f"{name:<{width}}  {c.all:>6} {c.tp:>6} {c.fp:>6}  {c.precision:>6.3f} {c.recall:>6.3f} {c.f1:>6.3f}"
            for name, c in rows
        ]
        return "\n".join(lines)


def _counts(tp: Mapping[str, int], fp: Mapping[str, int], miss: Mapping[str, int]) -> dict[str, Counts]:
    names = dict.fromkeys((*tp, *fp, *miss))
    return {name: Counts(tp.get(name, 0), fp.get(name, 0), miss.get(name, 0)) for name in names}
