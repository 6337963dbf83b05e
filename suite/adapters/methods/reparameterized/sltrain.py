"""SLTrain for fine-tuning: the change of a weight is a low-rank and a sparse matrix.

Han et al., SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining, arXiv 2406.02214,
section 3.2, where it is the whole weight (`sparse_low_rank.replace_linears` does that); here it is added to one:

    W' = W + s B A + S,   s = alpha / r,   S[index] = values, 0 elsewhere
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import RankedConfig, WeightChange, tuner
from suite.adapters.carriers.low_rank import chosen
from suite.adapters.fused.frozen import autocast_dtype, is_frozen_linear, is_plain_tensor, is_transformed, multiplies
from suite.adapters.methods.reparameterized.sparse_low_rank import dense, random_index, sparse_low_rank_linear
from suite.adapters.registry import MethodInfo


@dataclass
class SltrainConfig(RankedConfig):
    """Settings of sparse plus low-rank changes."""

    sp_ratio: float = field(default=0.03, metadata={"help": "Share of the weight's entries that S has."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sp_ratio <= 1:
            raise ValueError(f"sp_ratio={self.sp_ratio} must be above 0 and at most 1")


@tuner(
    MethodInfo(
        "sltrain",
        paper="2406.02214",
        trainable="a product of rank r and single entries",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    SltrainConfig,
)
class Sltrain(WeightChange):
    """W + s B A + S."""

    parameter_names: ClassVar = ("lora_A", "lora_B", "sparse_value")
    buffer_names: ClassVar = ("sparse_index",)

    def create(self, adapter: str, config: SltrainConfig) -> dict[str, Tensor]:
        rank = int(chosen(config.rank_pattern, self.target, config.r))
        device = next((parameter.device for parameter in self.get_base_layer().parameters()), torch.device("cpu"))
        index = random_index(self.in_features * self.out_features, config.sp_ratio, device)
        if not len(index):
            raise ValueError(f"{self.target}: sp_ratio={config.sp_ratio} is less than one of its entries; raise it")
        a, std = torch.empty(rank, self.in_features), 0.0 if config.init_weights else 0.1
        torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        values = std * torch.randn(len(index))
        return {
            "lora_A": a,
            "lora_B": std * torch.randn(self.out_features, rank),
            "sparse_value": values,
            "sparse_index": index,
        }

    def parts(self, adapter: str) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, float]:
        """A, B and the values; where the values stand; and s, all at the adapter's strength."""
        config, strength = self.settings[adapter], self.strength(adapter)
        a, b, values = (self.tensor(name, adapter) for name in self.parameter_names)
        scale = strength * chosen(config.alpha_pattern, self.target, config.alpha) / len(a)
        return (a, b, values if strength == 1.0 else strength * values), self.tensor("sparse_index", adapter), scale

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        (a, b, values), index, scale = self.parts(adapter)
        return dense(weight, a.to(weight.dtype), b.to(weight.dtype), values.to(weight.dtype), index, scale), bias

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        (a, b, values), index, scale = self.parts(adapter)
        delta = dense(None, a, b, values, index, scale)
        return y + functional.linear(self._cast_input_dtype(x, delta.dtype), delta)

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or len(adapters) != 1 or not self._is_one_product(x):
            return super()._adapted(x, adapters, *args, **kwargs)
        base, x = self.get_base_layer(), x.to(autocast_dtype(x) or x.dtype)
        return sparse_low_rank_linear(x, base.weight, base.bias, *self.parts(adapters[0]))

    def _is_one_product(self, x: Tensor) -> bool:
        if not is_plain_tensor(x) or is_transformed() or not is_frozen_linear(self.base_layer):
            return False
        return multiplies(x, self.base_layer.weight)


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `lora_A`, `lora_B`, `sparse_value` and `sparse_index` of one layer as our tensors."""
    return {name: state[name] for name in ("lora_A", "lora_B", "sparse_value", "sparse_index")}
