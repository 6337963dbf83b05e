"""IncreLoRA: a LoRA of few ranks, whose layers get more of them where a change of the weight matters most.

Zhang et al., IncreLoRA: Incremental Parameter Allocation Method for Parameter-Efficient Fine-tuning, arXiv 2308.12043,
section 3. With n ranks open:

    W' = W + alpha / (n + 1e-5) * B diag(E) A        score = sum |dW * dL/d(dW)| / sqrt(entries of dW)

A layer has ranks in reserve, of which A and B train already while E stays 1e-5; when it grows they open, and it gets
others. With Adam the first steps of a late rank differ a little from the authors', who give it moments of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import tuner
from suite.adapters.fused.lora import LowRank
from suite.adapters.methods.reparameterized.growing import EPSILON, GrowingConfig, GrowingRanks
from suite.adapters.registry import MethodInfo

RESERVED = 1e-5
STEPS = {2: 1, 4: 2, 6: 3, 8: 4}
"""By how many ranks a layer grows, by target rank, as the authors chose it."""


@dataclass
class IncreloraConfig(GrowingConfig):
    """Settings of IncreLoRA."""

    top_h: int = field(default=2, metadata={"help": "How many layers grow at a time.", "live": True})
    init_warmup: int = field(default=1000, metadata={"help": "Steps before the first growth.", "live": True})
    incre_interval: int = field(default=1000, metadata={"help": "Steps between two.", "live": True})
    beta1: float = field(default=0.85, metadata={"help": "Of the scores' moving average.", "live": True})
    beta2: float = field(default=0.85, metadata={"help": "Of that of their uncertainty.", "live": True})
    advance_learn: bool = field(default=True, metadata={"help": "Reserves train before they open.", "live": True})
    orth_reg_weight: float = field(
        default=0.1, metadata={"help": "Weight of the rows of A and columns of B being of length 1.", "live": True}
    )

    @property
    def step(self) -> int:
        return self.add_r or STEPS.get(self.r, max(1, self.r // 2))


@tuner(
    MethodInfo(
        "increlora",
        paper="2308.12043",
        trainable="its final ranks",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
        procedure="increlora",
    ),
    IncreloraConfig,
)
class Increlora(GrowingRanks):
    """W + alpha / (n + 1e-5) * B diag(E) A."""

    parameter_names: ClassVar = ("lora_A", "lora_B", "lora_E")

    def _prepare(self, target: str) -> None:
        super()._prepare(target)
        self._watched: dict[str, Tensor | None] = {}  # the scores summed up, of adapters whose scores are wanted

    def create(self, adapter: str, config: IncreloraConfig) -> dict[str, Tensor]:
        rank, size = self.sizes(config)
        a, b, e = torch.zeros(size, self.in_features), torch.zeros(self.out_features, size), torch.zeros(size)
        a[:rank].normal_(std=0.02)
        b[:, :rank].normal_(std=0.02)
        if not config.init_weights:
            e[:rank].normal_(std=30.0)
        counts, scores = torch.tensor([rank, rank]), torch.zeros(2)  # scores: their average, and its uncertainty
        return {"lora_A": a, "lora_B": b, "lora_E": e, "counts": counts, "scores": scores}

    def factors(self, adapter: str) -> LowRank:
        ranks, entries = self.counted(adapter)
        a, b, e = (self.tensor(name, adapter) for name in ("lora_A", "lora_B", "lora_E"))
        e, a, b = torch.cat([e[:ranks], e[ranks:entries].detach()]), a[:entries], b[:, :entries]
        if entries > ranks and not self.settings[adapter].advance_learn:
            a, b = torch.cat([a[:ranks], a[ranks:].detach()]), torch.cat([b[:, :ranks], b[:, ranks:].detach()], dim=1)
        return LowRank(e[:, None] * a, b, self.alpha(adapter) / (ranks + EPSILON))

    def watch_score(self, adapter: str, on: bool) -> None:
        """Sum up the adapter's score in every backward from now on, or no more."""
        if on:
            self._watched.setdefault(adapter, None)
        else:
            self._watched.pop(adapter, None)

    def is_one_product(self, x: Tensor) -> bool:
        return not (self._watched and torch.is_grad_enabled()) and super().is_one_product(x)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        if adapter not in self._watched or not torch.is_grad_enabled():
            return super().apply_to(x, y, adapter)
        term = self.factors(adapter)
        delta = term.scale * (term.b @ term.a)  # made, since the score needs its gradient
        delta.register_hook(lambda gradient: self._sum_up(adapter, delta.detach(), gradient))
        return y + functional.linear(self._cast_input_dtype(x, delta.dtype), delta)

    def _sum_up(self, adapter: str, delta: Tensor, gradient: Tensor) -> None:
        score = (delta * gradient).abs().sum() / delta.numel() ** 0.5
        before = self._watched.get(adapter)
        self._watched[adapter] = score if before is None else before + score  # of micro-batches, one after the other

    def take_score(self, adapter: str) -> Tensor:
        """The score summed up since it was last taken: a scalar."""
        score = self._watched.get(adapter)
        self._watched[adapter] = None
        return self.tensor("scores", adapter).new_zeros(()) if score is None else score

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        entries, first = self.counted(adapter)[1], self.settings[adapter].init_rank
        a, b = self.tensor("lora_A", adapter)[:entries], self.tensor("lora_B", adapter)[:, :entries].T
        distances = [_from_orthonormal(part, min(first, entries)) for part in (a, b)]
        return {"orthogonality": self.settings[adapter].orth_reg_weight * torch.cat(distances)}

    @torch.no_grad()
    def reserve(self, adapter: str, a: Tensor, b: Tensor) -> None:
        """Get ranks in reserve."""
        ranks, entries = self.counted(adapter)
        self.put(adapter, entries, a, b)
        value = RESERVED if self.settings[adapter].advance_learn else 0.0
        self.tensor("lora_E", adapter)[entries : entries + len(a)] = value
        self.count(adapter, ranks, entries + len(a))

    def open(self, adapter: str) -> None:
        """Let the ranks in reserve be ranks."""
        entries = self.counted(adapter)[1]
        self.count(adapter, entries, entries)

    def close(self, adapter: str) -> None:
        """Give up the ranks in reserve: growth is over."""
        ranks, _ = self.counted(adapter)
        self.count(adapter, ranks, ranks)

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        ranks, _ = self.counted(adapter)
        tensors = {name: self.tensor(name, adapter)[:ranks] for name in ("lora_A", "lora_E")}
        return {**tensors, "lora_B": self.tensor("lora_B", adapter)[:, :ranks]}, {"rank_pattern": ranks}


def _from_orthonormal(rows: Tensor, first: int) -> Tensor:
    """||P P^T - I||_F of the first rows together, and of every later one alone."""
    block = rows[:first] @ rows[:first].T
    together = torch.linalg.norm(block - torch.eye(first, dtype=rows.dtype, device=rows.device))
    return torch.cat([together[None], (rows[first:].square().sum(1) - 1).abs()])


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' lists `lora_A.{j}`, `lora_B.{j}` and `lora_E.{j}` of one layer as our tensors, without reserves."""

    def listed(name: str, dim: int) -> Tensor:
        count = sum(key.startswith(f"{name}.") for key in state)
        return torch.cat([state[f"{name}.{number}"] for number in range(count)], dim)

    a, b, e = listed("lora_A", 0), listed("lora_B", 1), listed("lora_E", 0).flatten()
    ranks = int(state["ranknum"]) if "ranknum" in state else len(e)
    return {"lora_A": a[:ranks], "lora_B": b[:, :ranks], "lora_E": e[:ranks]}
