"""Which prompts share a prefix: the plan that decides what is forwarded once instead of once a prompt.

Keys and values depend on the adapter, so a prefix is shared only among prompts that one adapter answers. Templates that
put a text first share it among all questions about it; those that put the question first share little. Nothing here
knows templates: the plan is found in the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_LEAST = 8
"""Shorter common prefixes are not worth a forward of their own."""
_WINDOW = 256
"""Most prompts in a group: bounds the time of planning; a further group costs one more prefix."""


@dataclass(frozen=True)
class PromptGroup:
    """Prompts (their indices) whose first `length` tokens are equal; `length` 0: forwarded whole."""

    rows: tuple[int, ...]
    length: int = 0


def share_prefixes(prompts: Sequence[Sequence[int]]) -> list[PromptGroup]:
    """Partition the prompts so that the fewest tokens are forwarded when each group's prefix is forwarded once.

    Each prompt keeps at least its last token, whose logits start the answer. Prompts with a common prefix are
    neighbours in sorted order, so the best partition is one of contiguous runs and dynamic programming finds it.
    """
    order = sorted(range(len(prompts)), key=lambda row: list(prompts[row]))
    common = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    # saved[end]: most tokens saved among the first `end` prompts; cut[end]: where their last group begins.
    saved, cut = [0] * (len(order) + 1), list(range(-1, len(order)))
    for end in range(1, len(order) + 1):
        saved[end], cut[end] = saved[end - 1], end - 1
        length = None
        for start in range(end - 2, max(end - _WINDOW, 0) - 1, -1):
            length = common[start] if length is None else min(length, common[start])
            if length < _LEAST:
                break
            gain = saved[start] + (end - start - 1) * length
            if gain > saved[end]:
                saved[end], cut[end] = gain, start
    return _groups(order, common, cut)


def forwarded_tokens(prompts: Sequence[Sequence[int]], groups: Sequence[PromptGroup]) -> int:
    """The prompt tokens that go through the model under this plan."""
    return sum(map(len, prompts)) - sum((len(group.rows) - 1) * group.length for group in groups)


def _groups(order: list[int], common: list[int], cut: list[int]) -> list[PromptGroup]:
    groups = []
    end = len(order)
    while end:
        start = cut[end]
        length = min(common[start : end - 1], default=0)
        groups.append(PromptGroup(tuple(sorted(order[start:end])), length))
        end = start
    return groups


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix, at most one less than the shorter prompt."""
    least = min(len(first), len(second)) - 1
    return next((place for place in range(least) if first[place] != second[place]), max(least, 0))
