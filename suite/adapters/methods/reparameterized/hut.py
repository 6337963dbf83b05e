"""HUT: the updated weight is the element-wise product of the weight and a low-rank matrix.

Zhang et al., HUT: A More Computation Efficient Fine-Tuning Method With Hadamard Updated Transformation, arXiv
2409.13501. Published is that W' is a Hadamard transformation of W by two low-rank matrices; how they start and enter
exactly is not, and there is no code. Ours:

    low_rank:  W' = W * (1 + s B A),  s = alpha / r, B = 0 at the start        vector:  W' = W * (u v^T), u = v = 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import RankedConfig, WeightChange, tuner
from suite.adapters.carriers.low_rank import chosen
from suite.adapters.fused.frozen import autocast_dtype, is_frozen_linear, is_plain_tensor, multiplies
from suite.adapters.registry import MethodInfo


@dataclass
class HutConfig(RankedConfig):
    """Settings of HUT."""

    factors: Literal["low_rank", "vector"] = field(
        default="low_rank", metadata={"help": "`low_rank`, or `vector`: one factor an output and one an input."}
    )


@tuner(
    MethodInfo(
        "hut",
        paper="2409.13501",
        trainable="r * (in + out)",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    HutConfig,
)
class Hut(WeightChange):
    """W * (1 + s B A), or W * (u v^T)."""

    parameter_names: ClassVar = ("a", "b")  # (r, in) and (out, r); as vectors (in,) and (out,)

    def create(self, adapter: str, config: HutConfig) -> dict[str, Tensor]:
        std = 0.0 if config.init_weights else 0.1
        if config.factors == "vector":
            return {
                "a": 1 + std * torch.randn(self.in_features),
                "b": 1 + std * torch.randn(self.out_features),
            }
        rank = int(chosen(config.rank_pattern, self.target, config.r))
        a = torch.empty(rank, self.in_features)
        torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        return {"a": a, "b": std * torch.randn(self.out_features, rank)}

    def multiplier(self, adapter: str) -> Tensor:
        """What the weight is multiplied by: (out, in)."""
        a, b, config = self.tensor("a", adapter), self.tensor("b", adapter), self.settings[adapter]
        if config.factors == "vector":
            return 1 + self.strength(adapter) * (torch.outer(b, a) - 1)
        alpha = chosen(config.alpha_pattern, self.target, config.alpha) * self.strength(adapter)
        return torch.addmm(b.new_ones(()), b, a, alpha=alpha / len(a))

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight * self.multiplier(adapter).to(weight.dtype), bias

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or len(adapters) != 1 or not self._is_two_scalings(x, adapters[0]):
            return super()._adapted(x, adapters, *args, **kwargs)
        base, x = self.get_base_layer(), x.to(autocast_dtype(x) or x.dtype)
        a, b = (self.tensor(name, adapters[0]).to(x.dtype) for name in ("a", "b"))
        y = functional.linear(x * a, base.weight.to(x.dtype)) * b  # W' is never made
        return y if base.bias is None else y + base.bias.to(x.dtype)

    def _is_two_scalings(self, x: Tensor, adapter: str) -> bool:
        """Whether what goes in and what comes out can be scaled instead of the weight."""
        if self.settings[adapter].factors != "vector" or self.strength(adapter) != 1.0:
            return False
        return is_plain_tensor(x) and is_frozen_linear(self.base_layer) and multiplies(x, self.base_layer.weight)
