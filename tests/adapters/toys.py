"""Small methods that tests register: what coming ones need of the carriers, without their details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import SelectedEntries, TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo


@dataclass
class HutConfig(TunerConfig):
    """Settings of the toy."""

    r: int = 2


@tuner(MethodInfo("toy_hut", "reparameterized", "2409.13501", "suite", layers=("Linear", "Conv1D")), HutConfig)
class Hut(WeightChange):
    """W * (1 + B A): stated by the changed weight alone."""

    parameter_names: ClassVar = ("a", "b")

    def create(self, adapter: str, config: HutConfig) -> dict[str, Tensor]:
        b = torch.zeros(self.out_features, config.r)
        if not config.init_weights:
            b.normal_(std=0.1)
        return {"a": torch.randn(config.r, self.in_features), "b": b}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight * (1 + self.tensor("b", adapter) @ self.tensor("a", adapter)), bias


@dataclass
class NeuroAdaConfig(TunerConfig):
    """Settings of the toy."""

    k: int = 2


@tuner(
    MethodInfo("toy_neuroada", "selective", "2510.18940", "suite", layers=("Linear", "Conv1D", "Embedding")),
    NeuroAdaConfig,
)
class NeuroAda(SelectedEntries):
    """W + delta at the k largest entries of every stored row."""

    parameter_names: ClassVar = ("delta",)
    buffer_names: ClassVar = ("indices",)

    def choose(self, adapter: str) -> Tensor:
        weight = self.host.weight.detach()
        columns = weight.abs().topk(self.settings[adapter].k, dim=1).indices  # (rows, k)
        return (torch.arange(len(weight))[:, None] * weight.shape[1] + columns).flatten().to(torch.int32)

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return torch.zeros(places.shape)

    def values(self, adapter: str) -> Tensor:
        return self.original(adapter) + self.trained(adapter)
