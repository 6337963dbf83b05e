"""DiffFit: biases and norms train, and a factor on what every branch of a block gives.

Xie et al., DiffFit: Unlocking Transferability of Large Diffusion Models via Simple Parameter-Efficient Fine-Tuning,
arXiv 2304.06648, section 3.2; on vision transformers in the V-PEFT study of arXiv 2409.16434:

    x + gamma * branch(x),  gamma = 1 at the start;   every bias b + db;   every norm's weight w + dw

All of it folds into the weights: gamma into the branch's last linear layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.blocks import ends_with
from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.base import CarrierTuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import channel_axis, has_plain_weight, kind_of
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo

BRANCHES = ("attn.proj", "mlp.fc2", "self_attn.o_proj", "mlp.down_proj", "out_proj", "output.dense", "c_proj")
HEADS = ("head", "classifier", "lm_head", "score", "fc_norm")


@dataclass
class DifffitConfig(TunerConfig):
    """Settings of DiffFit. Without `target_modules` all biases, norms and branches below the head are meant."""

    scaled: list[str] = field(
        default_factory=lambda: [*BRANCHES],
        metadata={"help": "Endings of the last linear layers of branches, whose output gets a factor."},
    )


class _DifffitTuner(CarrierTuner):
    def _prepare_adapter_config(self, peft_config: DifffitConfig, model_config: dict[str, Any]) -> DifffitConfig:
        if peft_config.target_modules is None:
            found = {name: module for name, module in base_modules(self.model).items() if has_plain_weight(module)}
            peft_config.target_modules = exactly(
                name
                for name, module in found.items()
                if kind_of(module) in KINDS
                and not ends_with(name, HEADS)
                and (module.bias is not None or kind_of(module) == "LayerNorm" or ends_with(name, peft_config.scaled))
            )
        return peft_config


KINDS = ("Linear", "Conv1D", "Conv2d", "LayerNorm")


@tuner(
    MethodInfo(
        "difffit",
        paper="2304.06648",
        trainable="biases, norms, a factor a branch",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=KINDS,
    ),
    DifffitConfig,
)
class Difffit(WeightChange):
    """gamma (W x + b + db), or of a norm (w + dw) n(x) + b + db."""

    tuner_base = _DifffitTuner
    parameter_names: ClassVar = ("factor", "weight", "bias")

    def create(self, adapter: str, config: DifffitConfig) -> dict[str, Tensor]:
        base, size = self.get_base_layer(), self.out_features
        std = 0.0 if config.init_weights else 0.1
        tensors = {}
        if ends_with(self.target, config.scaled):
            tensors["factor"] = 1 + std * torch.randn(size)
        if isinstance(base, nn.LayerNorm):
            tensors["weight"] = std * torch.randn(base.normalized_shape)
        if base.bias is not None:
            tensors["bias"] = std * torch.randn(size)
        if not tensors:
            raise ValueError(f"{self.target} has no bias and is no branch's end; name it in scaled= or leave it out")
        return tensors

    def part(self, name: str, adapter: str, absent: float) -> Tensor | float:
        """A tensor of the adapter, or the number that stands for its absence."""
        return self.tensor(name, adapter) if adapter in getattr(self, self.prefix + name) else absent

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        factor = self.part("factor", adapter, 1.0)
        weight = weight + self.part("weight", adapter, 0.0)
        if isinstance(factor, Tensor):
            weight = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
        return weight, None if bias is None else factor * (bias + self.part("bias", adapter, 0.0))

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        y, base = inner(x), self.get_base_layer()
        shape = [1] * y.dim()
        shape[channel_axis(base)] = -1
        bias, factor = self.part("bias", adapter, 0.0), self.part("factor", adapter, 1.0)
        if isinstance(base, nn.LayerNorm):
            own = bias.float() if isinstance(bias, Tensor) else None
            weight = self.tensor("weight", adapter).float()
            y = y + functional.layer_norm(x.float(), base.normalized_shape, weight, own, base.eps)
        elif isinstance(bias, Tensor):
            y = y + bias.reshape(shape)
        return y * factor.reshape(shape) if isinstance(factor, Tensor) else y
