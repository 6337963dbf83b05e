"""The figures of the three tasks: decisions, comments and refined code.

Five quantities are called BLEU-4 in this literature. Each has its own name here, and none is comparable to another.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from xml.sax.saxutils import unescape

import numpy as np
from numpy.typing import ArrayLike

from suite.errors import InputError

ORDERS = 4
"""N-grams of 1 to 4 tokens."""

_WORDPUNCT = re.compile(r"\w+|[^\w\s]+")
_SINGLE = re.compile(r"\w+|[^\s\w]")
# mteval-v11a: punctuation apart, a period or comma only where no digit is on that side, a dash behind a digit.
_APART = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_CHARACTERS = re.compile(r"[(_)`.]")


@dataclass(frozen=True)
class Necessity:
    """How well hunks that need a review are told from those that don't; yes is the positive class.

    Attributes:
        threshold: from which chance on the answer is yes.
        confusion: `[[no as no, no as yes], [yes as no, yes as yes]]`.
        notices: quantities that are 0 because nothing was there to divide by.
    """

    threshold: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    notices: tuple[str, ...] = field(default=(), compare=False)

    def of(self, positive: int) -> dict[str, float]:
        """Precision, recall, F1 and the number of true cases of a class: 1 is yes, 0 is no."""
        right = self.confusion[positive][positive]
        called = self.confusion[0][positive] + self.confusion[1][positive]
        there = sum(self.confusion[positive])
        precision, recall = _ratio(right, called), _ratio(right, there)
        f1 = _ratio(2 * precision * recall, precision + recall)
        return {"precision": precision, "recall": recall, "f1-score": f1, "support": float(there)}

    @property
    def accuracy(self) -> float:
        return _ratio(self.confusion[0][0] + self.confusion[1][1], sum(map(sum, self.confusion)))

    def average(self, weighted: bool = False) -> dict[str, float]:
        """The mean over the two classes, each counted once or by its number of true cases."""
        rows = [self.of(0), self.of(1)]
        total = sum(row["support"] for row in rows)
        shares = [_ratio(row["support"], total) if weighted else 0.5 for row in rows]
        names = ("precision", "recall", "f1-score")
        means = {name: sum(share * row[name] for share, row in zip(shares, rows, strict=True)) for name in names}
        return {**means, "support": total}


def necessity(gold: ArrayLike, chances: ArrayLike, threshold: float = 0.5) -> Necessity:
    """Score decisions at a threshold, as scikit-learn's `classification_report` does.

    Args:
        gold: 1 where a review is needed, 0 elsewhere; (n,).
        chances: the chance of yes; (n,).
        threshold: a chance of at least this is a yes.

    Raises:
        InputError: the two are not of one length, or there is nothing to score.
    """
    truth, found = np.asarray(gold, dtype=bool), np.asarray(chances, dtype=float) >= threshold
    if truth.shape != found.shape or truth.size == 0:
        raise InputError(f"{truth.size} labels and {found.size} answers: give one answer to each, and at least one")
    cells = [[int((~truth & ~found).sum()), int((~truth & found).sum())]]
    cells.append([int((truth & ~found).sum()), int((truth & found).sum())])
    notices = []
    if not found.any():
        notices.append("nothing was called a yes: its precision counts as 0")
    if not truth.any():
        notices.append("no case needs a review: the recall of yes counts as 0")
    (a, b), (c, d) = cells
    return Necessity(threshold, ((a, b), (c, d)), tuple(notices))


def sweep(gold: ArrayLike, chances: ArrayLike) -> list[Necessity]:
    """Scores at every threshold that changes an answer, from the lowest: recall only falls along the list."""
    return [necessity(gold, chances, float(level)) for level in np.unique(np.asarray(chances, dtype=float))]


def auroc(gold: ArrayLike, chances: ArrayLike) -> float:
    """The chance that a case that needs a review scores above one that does not; ties count half. 0.5 without both.

    Args:
        gold: 1 where a review is needed; (n,). chances: (n,).
    """
    from scipy.stats import rankdata

    truth, scores = np.asarray(gold, dtype=bool), np.asarray(chances, dtype=float)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return 0.5
    above = float(rankdata(scores)[truth].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def bleu_smooth_sentence(predictions: Sequence[str], references: Sequence[str], rmstop: bool = False) -> float:
    """The published tools' figure: the mean of smoothed sentence BLEUs, in per cent, rounded to two places.

    Args:
        predictions, references: one of each a pair.
        rmstop: leave out stop words first; they are compared before lower-casing, so that `The` stays.

    Raises:
        InputError: the two are not of one length.

    Source: evaluator/smooth_bleu.py of CodeReviewer (arXiv 2203.09095), which LLaMA-Reviewer uses, too.
    """
    pairs = _paired(predictions, references)
    return round(_mean([smooth_sentence(_words(a, rmstop), _words(b, rmstop)) for a, b in pairs]), 2)


def bleu_chars(predictions: Sequence[str], references: Sequence[str]) -> float:
    """`bleu_smooth_sentence` with blanks put around `( _ ) \\`` and `.` before, as a helper script of the same code."""
    return bleu_smooth_sentence(_apart(predictions), _apart(references))


def smooth_sentence(prediction: str, reference: str, smooth: bool = True, orders: int = ORDERS) -> float:
    """One pair's BLEU in per cent, not rounded; its tokens are those of `tokens`.

    Adds 1 to numerator and denominator for n > 1. By its arithmetic an empty prediction scores 100 exp(-r) against r
    tokens, since nothing out of nothing counts as 1, and two empty texts 100.
    """
    found, wanted = tokens(prediction), tokens(reference)
    least = sys.float_info.min
    logs = []
    for n in range(1, orders + 1):
        right, there = _matches(found, wanted, n)
        more = int(smooth and n > 1)
        logs.append(math.log(right + more + least) - math.log(there + more + least))
    brevity = min(0.0, 1 - (len(wanted) + 1) / (len(found) + 1))
    return 100 * math.exp(sum(logs) / orders + brevity)


def tokens(text: str) -> list[str]:
    """Tokens of the sentence BLEUs: words and single marks, lower case, with mteval's rules on top."""
    line = " ".join(_SINGLE.findall(text.replace("\t", " ").strip().lower()))
    line = unescape(re.sub(r"-\n", "", line.replace("<skipped>", "")).replace("\n", " "), {"&quot;": '"'})
    line = f" {line.lower()} "
    for pattern, apart in _APART:
        line = pattern.sub(apart, line)
    return line.split()


@dataclass(frozen=True)
class CorpusBleu:
    """A corpus's pooled BLEU: `bleu` from 0 to 1, the four precisions, brevity penalty and lengths in tokens."""

    bleu: float
    precisions: tuple[float, ...]
    brevity: float
    ratio: float
    length: int
    reference_length: int


def bleu_corpus(predictions: Sequence[str], references: Sequence[str], smooth: bool = True) -> CorpusBleu:
    """CodeXGLUE's `compute_bleu`: counts pooled over the corpus, tokens cut at blanks, case kept.

    Args:
        predictions, references: one of each a pair; pairs in which a side has no token are left out.
        smooth: add 1 to numerator and denominator of every order.

    Raises:
        InputError: the two are not of one length.
    """
    pairs = [(a.split(), b.split()) for a, b in _paired(predictions, references)]
    pairs = [(a, b) for a, b in pairs if a and b]
    length, wanted = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    precisions = []
    for n in range(1, ORDERS + 1):
        counts = [_matches(a, b, n) for a, b in pairs]
        right, there = sum(c[0] for c in counts), sum(c[1] for c in counts)
        precisions.append((right + 1) / (there + 1) if smooth else _ratio(right, there))
    ratio = _ratio(length, wanted)
    brevity = 1.0 if ratio > 1 else (math.exp(1 - 1 / ratio) if ratio else 0.0)
    mean = math.exp(sum(map(math.log, precisions)) / ORDERS) if min(precisions) > 0 else 0.0
    return CorpusBleu(mean * brevity, tuple(precisions), brevity, ratio, length, wanted)


def exact_match(predictions: Sequence[str], references: Sequence[str], collapse: bool = True) -> float:
    """Share of predictions that equal their reference.

    Args:
        collapse: take every run of white space for one blank; otherwise only the ends are trimmed.
    """
    pairs = _paired(predictions, references)
    same = [(a.split() == b.split()) if collapse else (a.strip() == b.strip()) for a, b in pairs]
    return _ratio(sum(same), len(same))


def edit_similarity(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Mean of 1 - edit distance / length of the longer text, in characters."""
    from rapidfuzz.distance import Levenshtein

    return _mean([Levenshtein.normalized_similarity(a, b) for a, b in _paired(predictions, references)])


@lru_cache
def stop_words() -> frozenset[str]:
    """The words that `rmstop` leaves out."""
    text = resources.files("domains.code_review.data").joinpath("stopwords.txt").read_text(encoding="utf-8")
    return frozenset(text.split("\n")) - {""}


def bootstrap(values: ArrayLike, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean: percentiles over resamples of the items, with replacement.

    Args:
        values: one score an item; (n,).
        resamples: how many; without any both ends are the mean.
    """
    scores = np.asarray(values, dtype=float)
    if resamples < 1:
        return float(scores.mean()), float(scores.mean())
    draws = np.random.default_rng(seed).integers(0, len(scores), (resamples, len(scores)))  # (resamples, n)
    low, high = np.percentile(scores[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def report(predictions: Sequence[str], references: Sequence[str], code: bool = False) -> Mapping[str, float]:
    """Every figure of generated text by its full name; `code` adds exact matches and edit similarity."""
    figures = {
        "bleu_smooth_sentence": bleu_smooth_sentence(predictions, references),
        "bleu_smooth_sentence (stop words removed)": bleu_smooth_sentence(predictions, references, rmstop=True),
        "bleu_chars": bleu_chars(predictions, references),
        "bleu_corpus_smooth": bleu_corpus(predictions, references).bleu,
        "sacrebleu": sacrebleu(predictions, references),
    }
    if code:
        figures["exact match"] = exact_match(predictions, references)
        figures["exact match (only trimmed)"] = exact_match(predictions, references, collapse=False)
        figures["edit similarity"] = edit_similarity(predictions, references)
    return figures


def sacrebleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU in per cent as `sacrebleu` counts it (13a tokens), for comparison across papers."""
    from sacrebleu import corpus_bleu

    return float(corpus_bleu(list(predictions), [list(references)]).score)


def _apart(texts: Sequence[str]) -> list[str]:
    return [" ".join(_CHARACTERS.sub(r" \g<0> ", text).split()) for text in texts]


def _words(text: str, rmstop: bool) -> str:
    found = _WORDPUNCT.findall(text)
    # Joined by blanks and cut again: what counts as a word here is what has no blank in it.
    words = " ".join(found).split()
    return " ".join(word for word in words if word not in stop_words()) if rmstop else " ".join(words)


def _matches(found: Sequence[str], wanted: Sequence[str], n: int) -> tuple[int, int]:
    """N-grams of `found` that `wanted` has, each at most as often as there; and how many `found` has."""
    ours, theirs = _grams(found, n), _grams(wanted, n)
    return sum((ours & theirs).values()), max(len(found) - n + 1, 0)


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[at:] for at in range(n)), strict=False))


def _paired(predictions: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    if len(predictions) != len(references):
        raise InputError(f"{len(predictions)} predictions and {len(references)} references: give one of each a pair")
    return list(zip(predictions, references, strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
