"""CodeBLEU: n-grams, weighted n-grams, syntax and data flow of code beside a reference (arXiv 2009.10297).

The published implementation counts a data flow of 0 as 1, whether nothing was there to match or nothing matched: an
empty prediction then scores 0.25. `codebleu` does the same, and `strict` does not; both come with all four parts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from suite.code.dataflow import Shape, flow, shapes
from suite.code.syntax import Language, grammar_version, parse, subtrees, without_comments
from suite.errors import InputError

Weights = tuple[float, float, float, float]
EQUAL: Weights = (0.25, 0.25, 0.25, 0.25)
ORDERS = 4
SMOOTHING = 0.1
"""Takes the place of an n-gram count of 0 (method 1 of Chen and Cherry, 2014)."""
COMMON = 0.2
"""Weight of a token that is no keyword."""

_JAVA = (
    "abstract assert boolean break byte case catch char class const continue default do double else enum extends final "
    "finally float for goto if implements import instanceof int interface long native new package private protected "
    "public return short static strictfp super switch synchronized this throw throws transient try void volatile while"
)
_PYTHON = (
    "False None True and as assert async await break class continue def del elif else except finally for from global "
    "if import in is lambda nonlocal not or pass raise return try while with yield match case type"
)
KEYWORDS: dict[Language, frozenset[str]] = {
    "java": frozenset(_JAVA.split()),
    "python": frozenset(_PYTHON.split()),
}


@dataclass(frozen=True)
class CodeBleu:
    """CodeBLEU of a corpus; every value from 0 to 1.

    Attributes:
        codebleu: as published: a data flow of 0 counts as 1.
        strict: a data flow of 0 counts as 0, and is left out, the others weighing more, where no reference has any.
        ngram, weighted_ngram, syntax, dataflow: its parts.
        grammar: whose syntax trees they are of.
    """

    codebleu: float
    strict: float
    ngram: float
    weighted_ngram: float
    syntax: float
    dataflow: float
    grammar: str


@dataclass(frozen=True)
class _Read:
    subtrees: tuple[str, ...]
    flow: tuple[Shape, ...]


def codebleu(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    language: Language,
    tokenizer: Literal["13a", "blanks"] = "13a",
    weights: Weights = EQUAL,
) -> CodeBleu:
    """Score predictions against references, counts pooled over the corpus.

    Args:
        predictions: one text an item. references: one or several for each.
        tokenizer: of the n-grams: sacrebleu's 13a, as the study of unit tests has it, or words between blanks, the
            published implementation's default.
        weights: of n-grams, weighted n-grams, syntax and data flow.

    Raises:
        InputError: there are not as many references as predictions, or none.
    """
    if len(predictions) != len(references) or not predictions:
        raise InputError(f"{len(predictions)} predictions and {len(references)} references: give one to each, and any")
    found = [text.strip() for text in predictions]
    wanted = [[text.strip() for text in ([one] if isinstance(one, str) else one)] for one in references]
    cut = _thirteen_a() if tokenizer == "13a" else str.split
    hypotheses = [cut(text) for text in found]
    targets = [[cut(text) for text in texts] for texts in wanted]
    ngram = _bleu(hypotheses, targets)
    weighted = _weighted_bleu(hypotheses, targets, KEYWORDS[language])
    syntax = _syntax(found, wanted, language)
    dataflow, edges = _dataflow(found, wanted, language)
    parts: Weights = (ngram, weighted, syntax, dataflow)
    published = sum(w * p for w, p in zip(weights, (ngram, weighted, syntax, dataflow or 1.0), strict=True))
    strict = sum(w * p for w, p in zip(weights, parts, strict=True))
    if not edges and weights[3] < sum(weights):
        strict /= sum(weights) - weights[3]
    return CodeBleu(published, strict, ngram, weighted, syntax, dataflow, grammar_version(language))


def _syntax(predictions: list[str], references: list[list[str]], language: Language) -> float:
    """Share of the references' subtrees that stand anywhere in the prediction."""
    matched = total = 0
    for prediction, wanted in zip(predictions, references, strict=True):
        there = set(_read(prediction, language).subtrees)
        for reference in wanted:
            trees = _read(reference, language).subtrees
            matched += sum(tree in there for tree in trees)
            total += len(trees)
    return matched / total if total else 0.0


def _dataflow(predictions: list[str], references: list[list[str]], language: Language) -> tuple[float, int]:
    """Share of the references' edges that the prediction has, each used once, and how many the references have."""
    matched = total = 0
    for prediction, wanted in zip(predictions, references, strict=True):
        for reference in wanted:
            edges, there = _read(reference, language).flow, Counter(_read(prediction, language).flow)
            total += len(edges)
            matched += sum((Counter(edges) & there).values())
    return (matched / total if total else 0.0), total


@lru_cache(maxsize=4096)
def _read(code: str, language: Language) -> _Read:
    """A text parsed once: its subtrees and its data flow."""
    bare = without_comments(code, language)
    return _Read(tuple(subtrees(parse(bare, language))), tuple(shapes(flow(bare, language))))


def _bleu(hypotheses: list[list[str]], references: list[list[list[str]]]) -> float:
    """Corpus BLEU: each n-gram counts at most as often as in the reference that has it most often."""
    counts = []
    for n in range(1, ORDERS + 1):
        right = total = 0
        for hypothesis, targets in zip(hypotheses, references, strict=True):
            found = _grams(hypothesis, n)
            most: Counter[tuple[str, ...]] = Counter()
            for target in targets:
                most |= _grams(target, n)
            right += sum((found & most).values())
            total += max(1, sum(found.values()))
        counts.append((float(right), float(total)))
    closest = 0
    for hypothesis, targets in zip(hypotheses, references, strict=True):
        sizes = [len(target) for target in targets]
        closest += min(sizes, key=lambda size: (abs(size - len(hypothesis)), size))
    return _mean(counts, sum(map(len, hypotheses)), closest)


def _weighted_bleu(hypotheses: list[list[str]], references: list[list[list[str]]], keywords: frozenset[str]) -> float:
    """A recall of the references' n-grams; among single tokens keywords weigh five times as much as others."""
    counts = []
    for n in range(1, ORDERS + 1):
        right = total = 0.0
        for hypothesis, targets in zip(hypotheses, references, strict=True):
            found = _grams(hypothesis, n)
            for target in targets:
                wanted = _grams(target, n)
                weight = (lambda gram: 1.0 if gram[0] in keywords else COMMON) if n == 1 else (lambda gram: 1.0)
                right += sum(min(count, found[gram]) * weight(gram) for gram, count in wanted.items())
                total += max(1.0, sum(count * weight(gram) for gram, count in wanted.items()))
        counts.append((right, total))
    # The published code measures its pairs of tokens and weights for the references' length, and so finds 2 in each.
    return _mean(counts, sum(map(len, hypotheses)), 2 * len(hypotheses))


def _mean(counts: list[tuple[float, float]], length: int, wanted: int) -> float:
    """Geometric mean of the orders, less where the predictions are shorter than the references."""
    if counts[0][0] == 0:
        return 0.0
    penalty = 1.0 if length > wanted else math.exp(1 - wanted / length)
    logs = [math.log((right or SMOOTHING) / total) / ORDERS for right, total in counts]
    return penalty * math.exp(math.fsum(logs))


def _grams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[at:] for at in range(n)), strict=False))


def _thirteen_a() -> Callable[[str], list[str]]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize = Tokenizer13a()
    return lambda text: tokenize(text).split()
