"""KronA: the change of a weight is a Kronecker product.

Edalati et al., KronA, arXiv 2212.10650; Marjit et al., DiffuseKronA, arXiv 2402.17412, equation 3:

    W' = W + s * (A kron B),   A: a1 x a2,   B: b1 x b2,   a1 * b1 = out,   a2 * b2 = in

Layout `kron` is the equation. Layout `official` is the map that the authors' code computes: the same two products,
but row p * a1 + q of its change is row q * b1 + p of the equation's, so their files are not Kronecker products of W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.fused.frozen import autocast_dtype, is_frozen_linear, is_plain_tensor, is_raised, multiplies
from suite.adapters.methods.reparameterized.kronecker import Sizes, cheapest, kronecker_linear, kronecker_product
from suite.adapters.registry import MethodInfo


@dataclass
class KronaConfig(TunerConfig):
    """Settings of KronA."""

    a1: int = field(default=4, metadata={"help": "Rows of A; divides the output size."})
    a2: int = field(default=64, metadata={"help": "Columns of A; divides the input size."})
    a_pattern: dict[str, list[int]] = field(
        default_factory=dict, metadata={"help": "Other (a1, a2) for modules whose name ends in, or matches, the key."}
    )
    layout: Literal["kron", "official"] = field(
        default="kron", metadata={"help": "`kron` (the paper) or `official` (the authors' files)."}
    )
    scaling: float = field(default=1.0, metadata={"help": "The plain factor s.", "strength": True})
    init: Literal["official", "gaussian"] = field(
        default="official",
        metadata={
            "help": (
                "How A is drawn while B is 0: `official` from N(0, 1 / a1^2), `gaussian` from N(0, 1 / a2), "
                "which keeps the variance of what A multiplies. `fit` gives both for a known change of the "
                "weight."
            ),
            "live": True,
        },
    )
    dropout: float = field(default=0.0, metadata={"help": "On the adapter's input.", "live": True})
    on_indivisible: Literal["error", "nearest"] = field(
        default="error", metadata={"help": "`error`, or `nearest` to take the nearest divisors of a layer's sizes."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must be in [0, 1)")


@tuner(
    MethodInfo(
        "krona",
        paper="2402.17412",
        trainable="a1 * a2 + in * out // (a1 * a2)",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    KronaConfig,
)
class Krona(WeightChange):
    """W + s * (A kron B), by the product that costs least; see `kronecker.cheapest`."""

    parameter_names: ClassVar = ("a", "b")

    def create(self, adapter: str, config: KronaConfig) -> dict[str, Tensor]:
        a1, a2 = config.a_pattern.get(get_pattern_key(config.a_pattern.keys(), self.target), (config.a1, config.a2))
        a1 = self._divisor(a1, self.out_features, "a1", config)
        a2 = self._divisor(a2, self.in_features, "a2", config)
        b = torch.zeros(self.out_features // a1, self.in_features // a2)
        if not config.init_weights:
            torch.nn.init.normal_(b, std=0.1)
        return {"a": torch.randn(a1, a2) / (a1 if config.init == "official" else a2**0.5), "b": b}

    def _divisor(self, factor: int, size: int, name: str, config: KronaConfig) -> int:
        if factor >= 1 and size % factor == 0:
            return factor
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        if config.on_indivisible == "nearest":
            return min(divisors, key=lambda d: abs(d - factor))
        around = {
            max((d for d in divisors if d <= factor), default=1),
            min((d for d in divisors if d >= factor), default=size),
        }
        near = " or ".join(map(str, sorted(around)))
        sizes = f"{self.in_features} in, {self.out_features} out"
        raise ValueError(f"{name}={factor} does not divide {size} in {self.target} ({sizes}): use {near}")

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        config = self.settings[adapter]
        a, b = self.tensor("a", adapter).to(weight.dtype), self.tensor("b", adapter).to(weight.dtype)
        rows = "qpij" if config.layout == "kron" else "pqij"
        delta = torch.einsum(f"qi,pj->{rows}", a, b).reshape(weight.shape)
        return weight + self.factor(adapter) * delta, bias

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or len(adapters) != 1 or not self._is_best_whole(x, adapters[0]):
            return super()._adapted(x, adapters, *args, **kwargs)
        (adapter,) = adapters
        x, base = x.to(autocast_dtype(x) or x.dtype), self.get_base_layer()
        a, b, official = self.tensor("a", adapter), self.tensor("b", adapter), self._is_official(adapter)
        return kronecker_linear(x, base.weight, base.bias, a, b, self.factor(adapter), official=official)

    def _is_best_whole(self, x: Tensor, adapter: str) -> bool:
        """Whether one product with the changed weight is possible, and costs least."""
        if not is_plain_tensor(x) or x.shape[-1] != self.in_features:
            return False
        if self.training and self.settings[adapter].dropout:
            return False
        sizes = Sizes.of(self.tensor("a", adapter), self.tensor("b", adapter))
        if cheapest(x.numel() // self.in_features, sizes, x.device.type, x.element_size()) != "whole":
            return False
        return is_frozen_linear(self.base_layer) and multiplies(x, self.base_layer.weight)

    def _is_official(self, adapter: str) -> bool:
        return self.settings[adapter].layout == "official"

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        config, a, b = self.settings[adapter], self.tensor("a", adapter), self.tensor("b", adapter)
        if is_raised(x, a):
            a, b = a.to(x.dtype), b.to(x.dtype)
        x = functional.dropout(self._cast_input_dtype(x, a.dtype), config.dropout, self.training)
        delta = kronecker_product(x, a, b, official=self._is_official(adapter))
        return torch.add(y, delta, alpha=self.factor(adapter))


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `down.weight` (a2, a1) and `up.weight` (b1, b2) of one layer as our tensors."""
    return {"a": state["down.weight"].T.contiguous(), "b": state["up.weight"]}


def fit(delta: Tensor, a1: int, a2: int, *, official: bool = False) -> tuple[Tensor, Tensor, float]:
    """The best A and B for a given change of a weight (van Loan: a rank-one problem after rearranging).

    Args:
        delta: (out, in).
        a1: rows of A.
        a2: columns of A.
        official: fit the official layout.

    Returns:
        A, B and the share of the squared norm they capture.
    """
    out_features, in_features = delta.shape
    b1, b2 = out_features // a1, in_features // a2
    grid = delta.reshape(b1, a1, a2, b2).transpose(0, 1) if official else delta.reshape(a1, b1, a2, b2)
    u, s, vt = torch.linalg.svd(grid.permute(0, 2, 1, 3).reshape(a1 * a2, b1 * b2), full_matrices=False)
    root = s[0].sqrt()
    captured: Any = s[0] ** 2 / (s**2).sum().clamp(min=torch.finfo(s.dtype).tiny)
    return (root * u[:, 0]).reshape(a1, a2), (root * vt[0]).reshape(b1, b2), float(captured)
