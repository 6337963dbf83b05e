"""SoRA: a LoRA whose ranks have gates, which training drives to zero.

Ding et al., Sparse Low-rank Adaptation of Pre-trained Language Models, arXiv 2311.11696, equations 5 to 8:

    W' = W + s B diag(g) A,   s = alpha / r         g <- sign(g) max(|g| - xi, 0) after every step of the optimiser

with a term lambda * mean |g| in the loss. The authors' code shrinks first and then sets to zero what is still below xi,
so that only |g| >= 2 xi survives (`prox="official"`). What is left is a LoRA of fewer ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from suite.adapters.carriers import LowRankChange, RankedConfig, tuner
from suite.adapters.fused.lora import LowRank
from suite.adapters.registry import MethodInfo

Prox = Literal["official", "soft"]
Schedule = Literal["linear", "log_linear", "exp_linear"]


@dataclass
class SoraConfig(RankedConfig):
    """Settings of SoRA."""

    sparse_lambda: float = field(default=10.0, metadata={"help": "Weight of the mean |g| in the loss.", "live": True})
    sparse_lambda_2: float = field(
        default=3e-4, metadata={"help": "xi, by which a step shrinks the gates.", "live": True}
    )
    prox: Prox = field(
        default="official",
        metadata={
            "help": "`official`, which cuts at 2 xi as the authors' code does, or `soft` (the paper).",
            "live": True,
        },
    )
    threshold_scaling: Literal["none", "lr"] = field(
        default="none", metadata={"help": "`lr` multiplies xi by the gates' learning rate.", "live": True}
    )
    sparse_lr: float | None = field(
        default=None, metadata={"help": "Learning rate of the gates; None for that of the run.", "live": True}
    )
    schedule: Schedule | list[float] | None = field(
        default=None,
        metadata={
            "help": (
                "Raises xi over equal parts of the run: `linear`, `log_linear` or `exp_linear` from sparse_lambda_2 to "
                "max_lambda, or a list of values."
            ),
            "live": True,
        },
    )
    max_lambda: float = field(default=0.1, metadata={"help": "Where the schedule ends.", "live": True})
    lambda_num: int = field(default=5, metadata={"help": "Parts of the schedule.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lambda_num < 1:
            raise ValueError(f"lambda_num={self.lambda_num} must be at least 1")
        if self.sparse_lambda_2 < 0:
            raise ValueError(f"sparse_lambda_2={self.sparse_lambda_2} must not be below 0")
        if isinstance(self.schedule, str) and self.schedule not in ("linear", "log_linear", "exp_linear"):
            raise ValueError(f"schedule {self.schedule!r} must be linear, log_linear, exp_linear or a list of values")

    def thresholds(self) -> list[float]:
        """xi in each part of the run."""
        if self.schedule is None:
            return [self.sparse_lambda_2]
        if isinstance(self.schedule, list):
            return self.schedule
        return lambda_schedule(self.schedule, self.sparse_lambda_2, self.max_lambda, self.lambda_num)


@tuner(
    MethodInfo(
        "sora",
        paper="2311.11696",
        trainable="r * (in + out + 1)",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
        procedure="sora",
    ),
    SoraConfig,
)
class Sora(LowRankChange):
    """W + s B diag(g) A."""

    parameter_names: ClassVar = ("lora_A", "lora_B", "gate")

    def create(self, adapter: str, config: SoraConfig) -> dict[str, Tensor]:
        rank = self.rank(config)
        a, b = torch.empty(rank, self.in_features), torch.zeros(self.out_features, rank)
        if rank:
            torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        if not config.init_weights:
            torch.nn.init.normal_(b, std=0.1)
        return {"lora_A": a, "lora_B": b, "gate": torch.randn(rank)}

    def factors(self, adapter: str) -> LowRank:
        a, gate = self.tensor("lora_A", adapter), self.tensor("gate", adapter)
        # The rank that it began with: cutting ranks must not change what the others do.
        return LowRank(
            gate[:, None] * a, self.tensor("lora_B", adapter), self.alpha(adapter) / self.settings[adapter].r
        )

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        return {"sparsity": self.settings[adapter].sparse_lambda * self.tensor("gate", adapter).abs()}

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kept = self.tensor("gate", adapter).ne(0)
        tensors = {
            "lora_A": self.tensor("lora_A", adapter)[kept],
            "lora_B": self.tensor("lora_B", adapter)[:, kept],
            "gate": self.tensor("gate", adapter)[kept],
        }
        return tensors, {"rank_pattern": int(kept.sum())}

    def filled(self, adapter: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        fewer = len(tensors.get("gate", ())) < len(self.tensor("gate", adapter))
        return self.padded(adapter, tensors) if fewer and tensors else {}


def shrunk(gate: Tensor, xi: float, prox: Prox = "official") -> Tensor:
    """The gates after a proximal step."""
    shorter = gate.sign() * (gate.abs() - xi).clamp(min=0)
    return shorter if prox == "soft" else shorter * (shorter.abs() >= xi)


def lambda_schedule(kind: Schedule, start: float, end: float, number: int) -> list[float]:
    """`number` values from `start` to `end`: evenly, or evenly in their exponentials or logarithms."""
    if kind == "linear":
        return torch.linspace(start, end, number).tolist()
    if kind == "log_linear":
        return torch.linspace(math.exp(start), math.exp(end), number).log().tolist()
    return torch.linspace(math.log(start), math.log(end), number).exp().tolist()


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `lora_A` (r, in), `lora_B` (out, r) and `gate` (1, r) of one layer as our tensors."""
    return {"lora_A": state["lora_A"], "lora_B": state["lora_B"], "gate": state["gate"].flatten()}
