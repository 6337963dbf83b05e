"""Confidence of a generated line: from the log-probabilities of its own tokens."""

from __future__ import annotations

import math

from domains.relation_extraction.types import Generation


def span_score(generation: Generation, span: tuple[int, int]) -> float | None:
    """Return exp(mean log-probability) of the tokens that write `generation.text[start:end]`.

    A token counts when at least one of its characters lies in the span.

    Returns:
        a number in (0, 1], or None where the engine gave no log-probabilities.
    """
    start, end = span
    begins = (0, *generation.offsets[:-1])
    own = [
        logprob
        for begin, stop, logprob in zip(begins, generation.offsets, generation.logprobs, strict=False)
        if begin < end and stop > start and stop > begin
    ]
    return math.exp(sum(own) / len(own)) if own else None
