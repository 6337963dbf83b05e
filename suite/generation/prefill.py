"""Prompts forwarded for the first time: each shared prefix once, a frame that all begin with never again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suite.generation.counters import Counters
from suite.generation.kvcache import Rows, join, left_pad
from suite.generation.requests import Row


@dataclass(frozen=True)
class Frame:
    """What many prompts begin with, forwarded once and kept: see `Engine.frame`.

    Attributes:
        tokens: of it. row: their keys and values.
    """

    tokens: tuple[int, ...]
    row: Rows

    def begins(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt goes on behind it."""
        return len(prompt) > len(self.tokens) and tuple(prompt[: len(self.tokens)]) == self.tokens


Acting = Callable[[Sequence[Row]], Callable[..., Any]]


class Prefill:
    """Forwards prompts, each shared prefix once.

    Args:
        acting: the model as the rows of a batch ask it.
        opening: one row of what stands before every prompt.
        order: the rows in the order in which they will be admitted, those of a group together.
    """

    def __init__(self, acting: Acting, opening: Rows, order: Sequence[Row], counters: Counters) -> None:
        self.acting, self.opening, self.order, self.counters = acting, opening, order, counters
        self._waiting = Counter(row.group for row in order)
        self._prefixes: dict[int, Rows] = {}

    def __call__(self, rows: Sequence[Row]) -> tuple[Rows, Tensor, list[Row]]:
        """Return the cache of `rows`, the logits (B, V) of their first token, and the order they stand in."""
        parts, logits, order = zip(*self._parts(rows, last=False), strict=True)
        return join(parts), torch.cat(logits), [row for part in order for row in part]

    def logits(self, rows: Sequence[Row]) -> tuple[Tensor, list[Row]]:
        """Return the same without a cache: nothing follows."""
        _, logits, order = zip(*self._parts(rows, last=True), strict=True)
        return torch.cat(logits), [row for part in order for row in part]

    def _parts(self, rows: Sequence[Row], last: bool) -> Iterator[tuple[Rows, Tensor, list[Row]]]:
        for shared in (True, False):
            if chosen := [row for row in rows if (row.prefix > 0) == shared]:
                cache = self._shared(chosen) if shared else self.opening.select([0] * len(chosen))
                rest = [row.prompt[row.prefix :] for row in chosen]
                yield cache, self._forward(chosen, cache, rest, last), chosen

    def _shared(self, rows: Sequence[Row]) -> Rows:
        """The keys and values of each row's prefix; computed now where they are not there yet."""
        missing = {row.group: row for row in rows if row.group not in self._prefixes}
        if missing:
            cache = self.opening.select([0] * len(missing))
            first = list(missing.values())
            self._forward(first, cache, [row.prompt[: row.prefix] for row in first])
            self._prefixes |= {group: cache.select([place]) for place, group in enumerate(missing)}
        joined = join([self._prefixes[row.group] for row in rows])
        for row in rows:
            self._waiting[row.group] -= 1
            if not self._waiting[row.group]:
                del self._prefixes[row.group]
        return joined

    def _forward(
        self, rows: Sequence[Row], cache: Rows, sequences: Sequence[Sequence[int]], last: bool = False
    ) -> Tensor:
        self.counters.prefilled_tokens += sum(map(len, sequences))
        return cache.forward(self.acting(rows), *left_pad(sequences, self.opening.mask.device), last=last)


def acting(model: nn.Module, asked: Callable[..., Any], rows: Sequence[Row]) -> Callable[..., Any]:
    """The model with each row's own adapter, where any of them names one."""
    names = [row.request.adapter for row in rows]
    if not any(names):
        return asked
    from suite import adapters  # with every method: most engines need none

    def forward(**inputs: Any) -> Any:
        with adapters.rows(model, names):
            return asked(**inputs)

    return forward
