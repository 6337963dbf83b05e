"""PEGO: a group of LoRAs that are kept orthogonal to the weight and to each other, for domains not seen in training.

Hu et al., Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization for Domain
Generalization, arXiv 2407.15085, equations 4 to 8. For the query and the value projections, with N pairs (A_i, B_i):

    W' = W + sum_i B_i A_i        loss += lambda * (sum_i |W (B_i A_i)^T| + sum_{i<j} |(B_i A_i) (B_j A_j)^T|)

|M| is the sum of the absolute entries. In a fused projection the first and the last rows change, query and value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import LowRankChange, RankedConfig, tuner
from suite.adapters.carriers.weights import read_weight
from suite.adapters.fused.lora import LowRank
from suite.adapters.registry import MethodInfo


@dataclass
class PegoConfig(RankedConfig):
    """Settings of PEGO."""

    r: int = field(default=4, metadata={"help": "Rank of each member of the group."})
    alpha: float = field(
        default=4.0, metadata={"help": "The change is scaled by alpha / r; alpha = r is the paper.", "strength": True}
    )
    members: int = field(default=4, metadata={"help": "N, the LoRAs of the group."})
    orthogonality: float = field(default=1e-3, metadata={"help": "lambda, the weight of the term.", "live": True})
    fused: list[str] = field(
        default_factory=lambda: ["qkv", "in_proj", "c_attn"],
        metadata={"help": "Names of targets that stack query, key and value: their first and last third change."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.members < 1:
            raise ValueError(f"members={self.members} must be at least 1")


@tuner(
    MethodInfo(
        "pego",
        paper="2407.15085",
        trainable="members * r * (in + out)",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    PegoConfig,
)
class Pego(LowRankChange):
    """W + sum_i B_i A_i, in the rows of query and value."""

    parameter_names: ClassVar = ("a", "b")  # (parts * members, r, in) and (parts * members, rows of a part, r)

    def create(self, adapter: str, config: PegoConfig) -> dict[str, Tensor]:
        rank, parts = self.rank(config), self._parts(config)
        a = torch.empty(parts * config.members, rank, self.in_features)
        bound = 1 / math.sqrt(self.in_features)  # kaiming's, of one matrix
        b = torch.zeros(len(a), self.out_features // (3 if parts == 2 else 1), rank)
        return {"a": a.uniform_(-bound, bound), "b": b if config.init_weights else 0.1 * torch.randn_like(b)}

    def _parts(self, config: PegoConfig) -> int:
        """2 for a fused projection, query and value; else 1.

        Raises:
            ValueError: the projection cannot be fused.
        """
        if self.target.rpartition(".")[2] not in config.fused:
            return 1
        if self.out_features % 3:
            raise ValueError(f"{self.target}: {self.out_features} outputs are no query, key and value; see `fused`")
        return 2

    def factors(self, adapter: str) -> LowRank:
        a, b, config = self.tensor("a", adapter), self.tensor("b", adapter), self.settings[adapter]
        rows = b.transpose(1, 2).flatten(0, 1).T  # (rows, parts * members * r)
        if self._parts(config) == 2:
            query, value = rows.chunk(2, dim=1)
            rows = torch.block_diag(query, value)
            key = rows.new_zeros(len(query), rows.shape[1])
            rows = torch.cat([rows[: len(query)], key, rows[len(query) :]])
        return LowRank(a.flatten(0, 1), rows, self.alpha(adapter) / self.rank(config))

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        config = self.settings[adapter]
        deltas = self.tensor("b", adapter) @ self.tensor("a", adapter)  # (parts * members, rows, in)
        weight = read_weight(self.get_base_layer())[0].to(deltas.dtype)
        parts = self._parts(config)
        weights = [weight[: deltas.shape[1]], weight[-deltas.shape[1] :]][:parts]
        total = deltas.new_zeros(())
        for own, group in zip(weights, deltas.chunk(parts), strict=True):
            total = total + sum((own @ delta.T).abs().sum() for delta in group)
            total = total + sum(((first @ second.T).abs().sum() for first, second in combinations(group, 2)), 0.0)
        return {"orthogonality": config.orthogonality * total}


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `linear_{a,b}_{q,v}.{i}.weight` of one fused projection as our tensors."""
    count = sum(key.startswith("linear_a_q.") for key in state)

    def stacked(side: str) -> Tensor:
        return torch.stack([state[f"linear_{side}_{part}.{i}.weight"] for part in "qv" for i in range(count)])

    return {"a": stacked("a"), "b": stacked("b")}
