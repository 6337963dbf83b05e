"""SSF: every operation's output is scaled and shifted, channel by channel.

Lian et al., Scaling & Shifting Your Features, arXiv 2210.08823, equation 1:

    y' = gamma * y + beta      which folds into the weights:   W' = gamma W,   b' = gamma b + beta
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.weights import channel_axis
from suite.adapters.registry import MethodInfo


@dataclass
class SsfConfig(TunerConfig):
    """Settings of SSF."""

    init: Literal["official", "identity"] = field(
        default="official",
        metadata={
            "help": (
                "`official` draws gamma from N(1, 0.02) and beta from N(0, 0.02), which is not the identity; "
                "`identity` starts with 1 and 0."
            ),
            "live": True,
        },
    )


@tuner(
    MethodInfo(
        "ssf",
        paper="2210.08823",
        trainable="2 * out",
        identity_at_start=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "BatchNorm", "GroupNorm"),
    ),
    SsfConfig,
)
class Ssf(WeightChange):
    """gamma * y + beta."""

    parameter_names: ClassVar = ("scale", "shift")

    def create(self, adapter: str, config: SsfConfig) -> dict[str, Tensor]:
        std = 0.02 if config.init == "official" else 0.0
        std = std if config.init_weights else 0.2
        size = self.out_features
        return {"scale": 1 + std * torch.randn(size), "shift": std * torch.randn(size)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        gamma, beta = self.tensor("scale", adapter), self.tensor("shift", adapter)
        weight = weight * gamma.reshape(-1, *[1] * (weight.dim() - 1))
        return weight, beta if bias is None else gamma * bias + beta

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        shape = [1] * y.dim()
        shape[channel_axis(self.get_base_layer())] = -1
        return y * self.tensor("scale", adapter).reshape(shape) + self.tensor("shift", adapter).reshape(shape)
