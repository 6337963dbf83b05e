"""Small methods that tests register: what coming ones need of the carriers, without their details."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import (
    PromptConfig,
    PromptEncoder,
    SelectedEntries,
    Site,
    TunerConfig,
    WeightChange,
    prompt_tuner,
    tuner,
)
from suite.adapters.registry import MethodInfo


@dataclass
class HutConfig(TunerConfig):
    """Settings of the toy."""

    r: int = 2


@tuner(
    MethodInfo(
        "toy_hut", "reparameterized", "2409.13501", "suite", scalable=True, by_row=True, layers=("Linear", "Conv1D")
    ),
    HutConfig,
)
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
    MethodInfo(
        "toy_neuroada", "selective", "2510.18940", "suite", by_row=True, layers=("Linear", "Conv1D", "Embedding")
    ),
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


@dataclass
class HutVectorConfig(TunerConfig):
    """Settings of the toy."""


@tuner(
    MethodInfo(
        "toy_hut_vector", "reparameterized", "2409.13501", "suite", scalable=True, by_row=True, layers=("Linear",)
    ),
    HutVectorConfig,
)
class HutVector(WeightChange):
    """u * (W (v * x)): what goes in changes, so the layer is called once, with it."""

    parameter_names: ClassVar = ("u", "v")

    def create(self, adapter: str, config: HutVectorConfig) -> dict[str, Tensor]:
        std = 0.0 if config.init_weights else 0.1
        return {"u": 1 + std * torch.randn(self.out_features), "v": 1 + std * torch.randn(self.in_features)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        u, v = self.tensor("u", adapter), self.tensor("v", adapter)
        return weight * torch.outer(u, v), None if bias is None else u * bias

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        return self.tensor("u", adapter) * inner(self.tensor("v", adapter) * x)


@dataclass
class CompacterConfig(TunerConfig):
    """Settings of the toy."""

    n: int = 2


@tuner(
    MethodInfo("toy_compacter", "additive", "2106.04647", "suite", mergeable=False, layers=("Linear",)),
    CompacterConfig,
)
class Compacter(Site):
    """y + sum_i kron(rule_i, w_i) y, with one rule for all layers."""

    parameter_names: ClassVar = ("rule", "w")
    shared_names: ClassVar = ("rule",)

    def create(self, adapter: str, config: CompacterConfig) -> dict[str, Tensor]:
        size = self.out_features // config.n
        std = 0.0 if config.init_weights else 0.1
        return {"rule": torch.randn(config.n, config.n, config.n), "w": std * torch.randn(config.n, size, size)}

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor, adapter: str) -> Tensor:
        pairs = zip(self.tensor("rule", adapter), self.tensor("w", adapter), strict=True)
        return output + functional.linear(output, sum(torch.kron(rule, w) for rule, w in pairs))


@dataclass
class MaskedConfig(TunerConfig):
    """Settings of the toy."""

    r: int = 4
    rank_pattern: dict[str, int] = field(default_factory=dict)


@tuner(MethodInfo("toy_masked", "reparameterized", "", "suite", layers=("Linear",)), MaskedConfig)
class Masked(WeightChange):
    """W + B diag(mask) A: the mask and its scores are training's, a file holds the ranks that are left."""

    parameter_names: ClassVar = ("a", "b")
    state_names: ClassVar = ("mask", "scores")

    def create(self, adapter: str, config: MaskedConfig) -> dict[str, Tensor]:
        key = get_pattern_key(config.rank_pattern.keys(), self.target)
        r = config.rank_pattern.get(key, config.r)
        b = torch.zeros(self.out_features, r)
        return {"a": torch.randn(r, self.in_features), "b": b, "mask": torch.ones(r), "scores": torch.zeros(r)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight + (self.tensor("b", adapter) * self.tensor("mask", adapter)) @ self.tensor("a", adapter), bias

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kept = self.tensor("mask", adapter).bool()
        tensors = {"a": self.tensor("a", adapter)[kept], "b": self.tensor("b", adapter)[:, kept]}
        return tensors, {"rank_pattern": int(kept.sum())}

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        return {"size": 1e-2 * self.tensor("a", adapter).square().sum()}


@dataclass
class EchoConfig(TunerConfig):
    """Settings of the toy."""


@tuner(
    MethodInfo("toy_echo", "representation", "", "suite", mergeable=False, scalable=True, by_row=True, layers=("*",)),
    EchoConfig,
)
class Echo(Site):
    """(1 + g) * the output, whatever the module."""

    parameter_names: ClassVar = ("g",)

    def create(self, adapter: str, config: EchoConfig) -> dict[str, Tensor]:
        return {"g": torch.zeros(1) if config.init_weights else torch.full((1,), 0.3)}

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        return output * (1 + self.tensor("g", adapter))


@dataclass
class AptConfig(TunerConfig):
    """Settings of the toy."""


@tuner(MethodInfo("toy_apt", "prompt", "2306.15706", "suite", mergeable=False, layers=("attention",)), AptConfig)
class Apt(Site):
    """What goes into attention's output projection, gated by what went into attention."""

    parameter_names: ClassVar = ("p",)

    def create(self, adapter: str, config: AptConfig) -> dict[str, Tensor]:
        self.watch(self.host, before=self._enter)
        self.watch(self.host.proj, before=self._gate)
        width = self.host.proj.in_features
        return {"p": torch.zeros(width) if config.init_weights else 0.3 * torch.randn(width)}

    def _enter(self, _host: nn.Module, args: tuple[Tensor, ...], _kwargs: dict[str, Any]) -> None:
        self.scratch.entered = args[0]

    def _gate(self, _proj: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0]
        for adapter in [] if self.disable_adapters else self.present():
            x = x * (1 + torch.tanh(self.scratch.entered) * self.tensor("p", adapter))
        return (x, *args[1:]), kwargs


@dataclass
class GainConfig(TunerConfig):
    """Settings of the toy."""


@tuner(MethodInfo("toy_gain", "reparameterized", "", "suite", layers=("Linear", "Embedding")), GainConfig)
class Gain(WeightChange):
    """A gain for every output channel, stated by the weight alone."""

    parameter_names: ClassVar = ("g",)

    def create(self, adapter: str, config: GainConfig) -> dict[str, Tensor]:
        return {"g": torch.ones(self.out_features)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        g = self.tensor("g", adapter)
        return weight * g[:, None], None if bias is None else g * bias


@dataclass
class FactoredConfig(PromptConfig):
    """Settings of the toy."""

    r: int = field(default=2, metadata={"help": "Rank of the prompt."})
    start: Literal["random", "zero"] = field(default="random", metadata={"help": "How it starts."})


@prompt_tuner(
    MethodInfo("toy_factored", "prompt", in_place=False, identity_at_start=False, mergeable=False),
    FactoredConfig,
)
class Factored(PromptEncoder):
    """A prompt that is a product of two thin matrices."""

    def create(self, config: FactoredConfig, word_embeddings: nn.Module) -> dict[str, Tensor | nn.Module]:
        b = torch.zeros(config.r, config.token_dim)
        if config.start == "random":
            b.normal_()
        return {"a": torch.randn(config.num_virtual_tokens, config.r), "b": b}

    def prompts(self) -> Tensor:
        return self.a @ self.b
