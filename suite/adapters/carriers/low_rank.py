"""Methods whose change of a weight is a product of two thin matrices: W' = W + s B A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.weight_change import WeightChange
from suite.adapters.fused.frozen import autocast_dtype, is_frozen_linear, is_plain_tensor, is_raised, multiplies
from suite.adapters.fused.lora import LowRank, lora_linear


@dataclass
class RankedConfig(TunerConfig):
    """Fields of the methods that have a rank."""

    r: int = field(default=8, metadata={"help": "Rank of the change."})
    alpha: float = field(default=16.0, metadata={"help": "The change is scaled by alpha / r.", "strength": True})
    rank_pattern: dict[str, int] = field(
        default_factory=dict, metadata={"help": "Other ranks for modules whose name ends in, or matches, the key."}
    )
    alpha_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "Other alpha, likewise.", "live": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")


def chosen(pattern: Mapping[str, Any], target: str, usual: Any) -> Any:
    """What a pattern says of a module, by an ending of its name or a regular expression; else what is usual."""
    return pattern.get(get_pattern_key(pattern.keys(), target), usual)


class LowRankChange(WeightChange):
    """W + s B A; a method states `create` and `factors`, and its config derives from `RankedConfig`."""

    def factors(self, adapter: str) -> LowRank:
        """A (r, in), B (out, r) and the scale s of an adapter, at its strength."""
        raise TypeError(f"{type(self).__name__} must define factors")

    def rank(self, config: RankedConfig) -> int:
        """The rank of this layer."""
        return int(chosen(config.rank_pattern, self.target, config.r))

    def alpha(self, adapter: str) -> float:
        """alpha of this layer, at the adapter's strength."""
        config = self.settings[adapter]
        return float(chosen(config.alpha_pattern, self.target, config.alpha)) * self.strength(adapter)

    def padded(self, adapter: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of fewer ranks than this layer has, with zeros in the place of the others; none if they have more."""
        shapes = {name: self.tensor(name, adapter).shape for name in tensors}
        pairs = [pair for name, own in tensors.items() for pair in zip(own.shape, shapes[name], strict=True)]
        if any(has > room for has, room in pairs):
            return {}
        zeros = {name: tensor.new_zeros(shapes[name]) for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            zeros[name][tuple(map(slice, tensor.shape))] = tensor
        return zeros

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        term = self.factors(adapter).to(weight.dtype)
        return weight + term.scale * (term.b @ term.a), bias

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        term = self.factors(adapter)
        if is_raised(x, term.a):
            term = term.to(x.dtype)
        low = functional.linear(self._cast_input_dtype(x, term.a.dtype), term.a)
        return torch.add(y, functional.linear(low, term.b), alpha=term.scale)

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or len(adapters) != 1 or not self.is_one_product(x):
            return super()._adapted(x, adapters, *args, **kwargs)
        base, x = self.get_base_layer(), x.to(autocast_dtype(x) or x.dtype)
        return lora_linear(x, base.weight, base.bias, self.factors(adapters[0]).to(x.dtype))

    def is_one_product(self, x: Tensor) -> bool:
        """Whether the low-rank part can be added by the product that makes it; see `suite.adapters.fused.lora`."""
        return is_plain_tensor(x) and is_frozen_linear(self.base_layer) and multiplies(x, self.base_layer.weight)
