"""The figures of commit messages (arXiv 2402.06247, section 4): sentence BLEU, ROUGE-L, CIDEr, METEOR.

ROUGE-L and CIDEr are those of the COCO captions' code, which the literature on commit messages uses, on words that are
cut at blanks. The published METEOR needs Java, WordNet and a table of paraphrases; ours knows equal words alone, and
says so in its name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from domains.code_review import metrics

_BETA = 1.2
_ORDERS = 4


def report(predictions: Sequence[str], references: Sequence[str]) -> Mapping[str, float]:
    """Every figure by its full name, in per cent but for CIDEr; one prediction and one reference a commit."""
    figures = dict(metrics.report(predictions, references))
    pairs = [(a.split(), b.split()) for a, b in zip(predictions, references, strict=True)]
    return figures | {
        "rouge_l (COCO)": 100 * _mean([rouge_l(a, b) for a, b in pairs]),
        "meteor (equal words)": 100 * _mean([meteor(a, b) for a, b in pairs]),
        "cider (COCO)": _mean(cider([a for a, _ in pairs], [b for _, b in pairs])),
        "exact match": metrics.exact_match(predictions, references),
    }


def rouge_l(found: Sequence[str], wanted: Sequence[str]) -> float:
    """The F of the longest common subsequence, recall weighing 1.44 times precision (Lin 2004, equation 4)."""
    from rapidfuzz.distance import LCSseq

    common = LCSseq.similarity(found, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def meteor(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Harmonic mean of precision and recall, recall nine times, less up to half for a broken order (Banerjee 2005).

    Words are equal or not; of several places for a word it takes the one that goes on from the word before.
    """
    places = _alignment(found, wanted)
    if not places:
        return 0.0
    matched = len(places)
    precision, recall = matched / len(found), matched / len(wanted)
    mean = 10 * precision * recall / (recall + 9 * precision)
    chunks = 1 + sum(b != a + 1 or d != c + 1 for (a, c), (b, d) in pairwise(places))
    return mean * (1 - 0.5 * (chunks / matched) ** 3)


def cider(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> list[float]:
    """Ten times the mean cosine of n-grams weighed by their rarity among the references (Vedantam 2015)."""
    total = math.log(max(len(wanted), 1))
    seen = Counter(gram for words in wanted for n in range(1, _ORDERS + 1) for gram in set(_grams(words, n)))
    scores = []
    for a, b in zip(found, wanted, strict=True):
        cosines = [_cosine(_weighed(a, n, seen, total), _weighed(b, n, seen, total)) for n in range(1, _ORDERS + 1)]
        scores.append(10 * sum(cosines) / _ORDERS)
    return scores


def _weighed(
    words: Sequence[str], n: int, seen: Counter[tuple[str, ...]], total: float
) -> dict[tuple[str, ...], float]:
    return {gram: count * (total - math.log(max(seen[gram], 1))) for gram, count in _grams(words, n).items()}


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[at:] for at in range(n)), strict=False))


def _cosine(a: Mapping[tuple[str, ...], float], b: Mapping[tuple[str, ...], float]) -> float:
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(value * b.get(gram, 0.0) for gram, value in a.items()) / lengths if lengths else 0.0


def _alignment(found: Sequence[str], wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Places of equal words in both, each used once, by the first text's order."""
    free: dict[str, list[int]] = {}
    for place, word in enumerate(wanted):
        free.setdefault(word, []).append(place)
    pairs: list[tuple[int, int]] = []
    last = -2
    for place, word in enumerate(found):
        if not free.get(word):
            continue
        last = last + 1 if last + 1 in free[word] else free[word][0]
        free[word].remove(last)
        pairs.append((place, last))
    return pairs


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
