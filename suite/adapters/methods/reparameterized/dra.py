"""DRA: one learned offset on what every residual branch gives.

Basu et al., Strong Baselines for Parameter Efficient Few-Shot Fine-tuning, arXiv 2304.01917, section 4 (with AttnScale;
after eTT's domain residual adapter, Xu et al., arXiv 2207.01376):

    x + branch(x) + d,    which folds into the bias of the branch's last linear layer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from suite.adapters.blocks import ends_with
from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.base import CarrierTuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import channel_axis
from suite.adapters.handle import base_modules
from suite.adapters.methods.reparameterized.difffit import BRANCHES
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class DraConfig(TunerConfig):
    """Settings of DRA. Without `target_modules` the last linear layers of attention and of the MLP are meant."""


class _DraTuner(CarrierTuner):
    def _prepare_adapter_config(self, peft_config: DraConfig, model_config: dict[str, Any]) -> DraConfig:
        if peft_config.target_modules is None:
            found = [name for name in base_modules(self.model) if ends_with(name, BRANCHES)]
            if not found:
                raise InputError("no layer's name is that of a branch's end; name them as targets")
            peft_config.target_modules = exactly(found)
        return peft_config


@tuner(
    MethodInfo(
        "dra",
        paper="2304.01917",
        trainable="out",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv2d"),
    ),
    DraConfig,
)
class Dra(WeightChange):
    """W x + b + d."""

    tuner_base = _DraTuner
    parameter_names: ClassVar = ("offset",)

    def create(self, adapter: str, config: DraConfig) -> dict[str, Tensor]:
        offset = torch.zeros(self.out_features)
        return {"offset": offset if config.init_weights else offset + 0.1 * torch.randn_like(offset)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        offset = self.tensor("offset", adapter)
        return weight, offset if bias is None else bias + offset

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        shape = [1] * y.dim()
        shape[channel_axis(self.get_base_layer())] = -1
        return y + self.tensor("offset", adapter).reshape(shape)
