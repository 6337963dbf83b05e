"""What the methods share whose layers begin with few ranks and get more of them where it pays.

All ranks that a layer may have lie in memory from the start; two numbers in the training's state say how many count. A
saved adapter holds the ranks that it ended with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import LowRankChange, RankedConfig
from suite.adapters.carriers.low_rank import chosen
from suite.errors import InputError

Draw = Callable[[Any, int], tuple[Tensor, Tensor]]
"""A (new, in) and B (out, new) of new ranks, for a layer and the number of the layer."""

EPSILON = 1e-5
"""Added to the rank that the change is divided by, as in AdaLoRA's code."""


@dataclass
class GrowingConfig(RankedConfig):
    """Settings of ranks that grow."""

    r: int = field(default=2, metadata={"help": "Target: the mean rank of all layers."})
    init_rank: int = field(default=1, metadata={"help": "Ranks of every layer at the start."})
    max_rank: int | None = field(default=None, metadata={"help": "Of one layer at most; None for 8 times the target."})
    add_r: int | None = field(default=None, metadata={"help": "By how many ranks a layer grows; None for the paper's."})
    init_warmup: int = field(default=0, metadata={"help": "Steps before the first growth.", "live": True})
    incre_interval: int = field(default=1, metadata={"help": "Steps between two.", "live": True})
    seed: int = field(default=0, metadata={"help": "Of the ranks that come later.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init_warmup < 0:
            raise ValueError(f"init_warmup={self.init_warmup} must not be below 0")
        if self.incre_interval < 1:
            raise ValueError(f"incre_interval={self.incre_interval} must be at least 1")
        if not 1 <= self.init_rank <= self.r:
            raise ValueError(f"init_rank={self.init_rank} must be from 1 to the target r={self.r}")
        if self.step < 1:
            raise ValueError(f"add_r={self.add_r} must be at least 1")

    @property
    def step(self) -> int:
        """By how many ranks a layer grows."""
        return self.add_r or 1


class GrowingRanks(LowRankChange):
    """A low-rank change of which the first ranks count."""

    state_names: ClassVar = ("counts", "scores")  # (2,): ranks, and with those in reserve; what growth is decided by

    def _prepare(self, target: str) -> None:
        super()._prepare(target)
        self._counted: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}

    def sizes(self, config: GrowingConfig) -> tuple[int, int]:
        """The ranks that count at first, and how many there may be; both are those of the file if it is from one."""
        known = chosen(config.rank_pattern, self.target, None)
        if known is not None:
            return known, known
        most = min(config.max_rank or 8 * config.r, self.in_features, self.out_features)
        return config.init_rank, max(most, config.init_rank) + config.step

    def counted(self, adapter: str) -> tuple[int, int]:
        """How many ranks there are, and how many with those in reserve."""
        counts = self.tensor("counts", adapter)
        if counts.is_meta:
            return (len(self.tensor("lora_A", adapter)),) * 2
        key = id(counts), counts._version  # read anew, which waits for a GPU, when it was written or loaded only
        if adapter not in self._counted or self._counted[adapter][0] != key:
            ranks, entries = counts.tolist()
            self._counted[adapter] = key, (ranks, entries)
        return self._counted[adapter][1]

    def count(self, adapter: str, ranks: int, entries: int) -> None:
        """Say how many ranks there are from now on."""
        counts = self.tensor("counts", adapter)
        counts.copy_(torch.tensor([ranks, entries], dtype=counts.dtype))

    def has_room(self, adapter: str) -> bool:
        """Whether the layer can grow once more."""
        return self.counted(adapter)[1] + self.settings[adapter].step <= len(self.tensor("lora_A", adapter))

    def filled(self, adapter: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ranks, room = len(tensors.get("lora_A", ())), len(self.tensor("lora_A", adapter))
        filled = self.padded(adapter, tensors) if 0 < ranks < room else {}
        return {**filled, "counts": self.tensor("counts", adapter).new_tensor([ranks, ranks])} if filled else {}

    @torch.no_grad()
    def put(self, adapter: str, start: int, a: Tensor, b: Tensor) -> None:
        """Give ranks from `start` on their values, a (new, in) and b (out, new)."""
        self.tensor("lora_A", adapter)[start : start + len(a)] = a
        self.tensor("lora_B", adapter)[:, start : start + len(a)] = b


def check_schedule(config: GrowingConfig, steps: int) -> None:
    """Refuse a growth that never begins.

    Raises:
        InputError: the run has no more steps than the warm-up.
    """
    if config.init_warmup >= steps:
        raise InputError(
            f"{config.method}: init_warmup is {config.init_warmup}, and the run has {steps} optimiser steps, so that "
            f"its ranks would never grow; set it below {steps}"
        )


def drawer(seed: int, step: int) -> Draw:
    """Draws new ranks from N(0, 0.02): the same in every process, and in a run that was resumed."""

    def draw(layer: GrowingRanks, number: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 1_000_003 + number)
        new = next(iter(layer.settings.values())).step
        a = torch.randn(new, layer.in_features, generator=generator)
        return 0.02 * a, 0.02 * torch.randn(layer.out_features, new, generator=generator)

    return draw


def largest(layers: Sequence[GrowingRanks], scores: Tensor, adapter: str, number: int) -> tuple[float, list[int]]:
    """The layers of the `number` largest scores, and of equal ones, among those that can grow; and the last score."""
    if number < 1:
        return torch.inf, []
    open_scores = scores.clone()
    for place, layer in enumerate(layers):
        if not layer.has_room(adapter):
            open_scores[place] = -torch.inf
    threshold = float(open_scores.topk(min(number, len(layers))).values[-1])
    return threshold, [place for place, score in enumerate(open_scores.tolist()) if -torch.inf < score >= threshold]
