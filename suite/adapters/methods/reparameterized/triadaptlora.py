"""TriAdaptLoRA: a LoRA with a matrix between its factors, grown block by block where that matrix grows.

Liang et al., TriAdaptLoRA: Brain-Inspired Triangular Adaptive Low-Rank Adaptation, arXiv 2501.08008, section 3. With n
ranks, which came in blocks:

    W' = W + alpha / (n + 1e-5) * B (C_row + C_col) A

C_row is lower and C_col upper triangular in blocks, both with the diagonal. C starts as 0, A and B do not, so that what
is new gets a gradient. A layer's score is how much ||C||_F / (number of blocks) grew since the last time; it needs no
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.fused.lora import LowRank
from suite.adapters.methods.reparameterized.growing import EPSILON, GrowingConfig, GrowingRanks
from suite.adapters.registry import MethodInfo


@dataclass
class TriadaptloraConfig(GrowingConfig):
    """Settings of TriAdaptLoRA."""

    r: int = field(default=8, metadata={"help": "Target: the mean rank of all layers."})
    target_total_rank: int | None = field(
        default=None, metadata={"help": "The ranks of all layers together; wins over r.", "live": True}
    )
    total_step: int | None = field(
        default=None, metadata={"help": "Steps that growth is spread over; None for all of the run.", "live": True}
    )
    rank_growth_model: Literal["linear", "non-linear"] = field(
        default="linear", metadata={"help": "How many layers grow at a time: `linear` or `non-linear`.", "live": True}
    )
    orth_reg_weight: float = field(
        default=0.5, metadata={"help": "Weight of the distance of A and B from orthonormal; 0 for none.", "live": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_step is not None and self.total_step <= self.init_warmup:
            raise ValueError(f"total_step={self.total_step} must be more than init_warmup={self.init_warmup}")

    @property
    def step(self) -> int:
        return self.add_r or max(1, self.r // 2)


@tuner(
    MethodInfo(
        "triadaptlora",
        paper="2501.08008",
        trainable="its final ranks",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
        procedure="triadaptlora",
    ),
    TriadaptloraConfig,
)
class Triadaptlora(GrowingRanks):
    """W + alpha / (n + 1e-5) * B C A."""

    parameter_names: ClassVar = ("lora_A", "lora_B", "lora_C_row", "lora_C_col")

    def create(self, adapter: str, config: TriadaptloraConfig) -> dict[str, Tensor]:
        rank, size = self.sizes(config)
        a, b = torch.zeros(size, self.in_features), torch.zeros(self.out_features, size)
        row, column = torch.zeros(size, size), torch.zeros(size, size)
        a[:rank].normal_(std=0.02)
        b[:, :rank].normal_(std=0.02)
        if not config.init_weights:
            row.normal_(std=100.0)
        state = {"counts": torch.tensor([rank, rank]), "scores": torch.tensor([-1.0])}  # no norm yet
        return {"lora_A": a, "lora_B": b, "lora_C_row": row, "lora_C_col": column, **state}

    def block(self, config: TriadaptloraConfig, ranks: int) -> Tensor:
        """Which growth every rank came by: (ranks,)."""
        later = (torch.arange(ranks) - config.init_rank).div(config.step, rounding_mode="floor") + 1
        return later.clamp(min=0)

    def core(self, adapter: str) -> Tensor:
        """C of the ranks there are: (n, n)."""
        ranks, _ = self.counted(adapter)
        row, column = (self.tensor(name, adapter)[:ranks, :ranks] for name in ("lora_C_row", "lora_C_col"))
        block = self.block(self.settings[adapter], ranks).to(row.device)
        lower = block[:, None] >= block
        return torch.where(lower, row, 0) + torch.where(lower.T, column, 0)

    def factors(self, adapter: str) -> LowRank:
        ranks, _ = self.counted(adapter)
        a, b = self.tensor("lora_A", adapter)[:ranks], self.tensor("lora_B", adapter)[:, :ranks]
        return LowRank(self.core(adapter) @ a, b, self.alpha(adapter) / (ranks + EPSILON))

    def norm(self, adapter: str) -> Tensor:
        """||C||_F by the number of blocks: a scalar."""
        ranks, _ = self.counted(adapter)
        blocks = 1 + -(-max(0, ranks - self.settings[adapter].init_rank) // self.settings[adapter].step)
        return torch.linalg.norm(self.core(adapter)) / blocks

    def grow(self, adapter: str, a: Tensor, b: Tensor) -> None:
        """Get another block of ranks."""
        ranks, _ = self.counted(adapter)
        self.put(adapter, ranks, a, b)
        self.count(adapter, ranks + len(a), ranks + len(a))

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        weight, (ranks, _) = self.settings[adapter].orth_reg_weight, self.counted(adapter)
        if not weight:
            return {}
        a, b = self.tensor("lora_A", adapter)[:ranks], self.tensor("lora_B", adapter)[:, :ranks]
        identity = torch.eye(ranks, dtype=a.dtype, device=a.device)
        distances = [torch.linalg.norm(product - identity) for product in (a @ a.T, b.T @ b)]
        return {"orthogonality": weight * torch.stack(distances)}

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        ranks, _ = self.counted(adapter)
        tensors = {name: self.tensor(name, adapter)[:ranks, :ranks] for name in ("lora_C_row", "lora_C_col")}
        a, b = self.tensor("lora_A", adapter)[:ranks], self.tensor("lora_B", adapter)[:, :ranks]
        return {"lora_A": a, "lora_B": b, **tensors}, {"rank_pattern": ranks}


def official_tensors(state: dict[str, Tensor], adapter: str = "default") -> dict[str, Tensor]:
    """The authors' lists `lora_{A,B,C_row,C_col}.<adapter>.{j}` of one layer as our tensors."""
    count = sum(key.startswith(f"lora_A.{adapter}.") for key in state)

    def listed(name: str) -> list[Tensor]:
        return [state[f"{name}.{adapter}.{number}"] for number in range(count)]

    a, b = torch.cat(listed("lora_A")), torch.cat(listed("lora_B"), dim=1)
    row, column = torch.zeros(len(a), len(a)), torch.zeros(len(a), len(a))
    end = 0
    for rows, columns in zip(listed("lora_C_row"), listed("lora_C_col"), strict=True):
        start, end = end, end + len(rows)
        row[start:end, :end], column[:end, start:end] = rows, columns
    return {"lora_A": a, "lora_B": b, "lora_C_row": row, "lora_C_col": column}
