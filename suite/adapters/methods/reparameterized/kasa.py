"""KaSA: the noise of a weight is cut off, and an update in the form of a singular value decomposition is added.

Wang et al., KaSA: Knowledge-Aware Singular-Value Adaptation of Large Language Models, arXiv 2412.06071, section 3:

    W' = W - (its r smallest singular components) + s B diag(d) A,   s = alpha / r

    loss += beta * sum ||d||^2 + gamma * sum (||A A^T - I||_F + ||B^T B - I||_F)

`loss="official"` are the terms of the authors' code: with the large matrices A^T A and B B^T, and divided by the number
of layers. `components="official"` keeps in - r components, as it does, which cuts nothing off a weight that has more
inputs than outputs by r. Unlike there, and in peft's LoRA with a `kasa_config`, the base's own weight stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from suite.adapters.carriers import RankedConfig, WeightChange, tuner
from suite.adapters.carriers.low_rank import chosen
from suite.adapters.carriers.weights import read_weight
from suite.adapters.registry import MethodInfo


@dataclass
class KasaConfig(RankedConfig):
    """Settings of KaSA."""

    beta: float = field(default=1e-4, metadata={"help": "Weight of the norm of d in the loss.", "live": True})
    gamma: float = field(default=1e-3, metadata={"help": "Weight of the orthogonality in the loss.", "live": True})
    loss: Literal["paper", "official"] = field(
        default="paper",
        metadata={"help": "The terms of the loss: `paper`, or those of the authors' code.", "live": True},
    )
    components: Literal["smallest", "official"] = field(
        default="smallest", metadata={"help": "What is cut: the r `smallest`, or all but in - r (`official`)."}
    )


@tuner(
    MethodInfo(
        "kasa",
        paper="2412.06071",
        trainable="r * (in + out + 1)",
        identity_at_start=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear",),
    ),
    KasaConfig,
)
class Kasa(WeightChange):
    """W - noise + s B diag(d) A."""

    parameter_names: ClassVar = ("lora_A", "lora_B", "lora_diag")

    def create(self, adapter: str, config: KasaConfig) -> dict[str, Tensor]:
        rank = int(chosen(config.rank_pattern, self.target, config.r))
        smaller = min(self.in_features, self.out_features)
        if rank >= smaller:
            raise ValueError(f"{self.target}: r={rank} would cut all of its {smaller} singular components; use less")
        if self.cut(config) > getattr(self, "deepest", -1):
            self.deepest: int = self.cut(config)
            self.rebuild()
        a, b = torch.empty(rank, self.in_features), torch.zeros(self.out_features, rank)
        torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        if not config.init_weights:
            torch.nn.init.normal_(b, std=0.1)
        return {"lora_A": a, "lora_B": b, "lora_diag": torch.randn(rank)}

    def cut(self, config: KasaConfig) -> int:
        """How many of this layer's singular components are noise."""
        rank = int(chosen(config.rank_pattern, self.target, config.r))
        spare = max(0, self.in_features - self.out_features) if config.components == "official" else 0
        return max(0, rank - spare)

    def rebuild(self) -> None:
        u, sigma, v = torch.linalg.svd(read_weight(self.get_base_layer())[0], full_matrices=False)
        first = len(sigma) - self.deepest  # the smallest come last
        self.register_buffer("noise_left", u[:, first:] * sigma[first:], persistent=False)  # (out, deepest)
        self.register_buffer("noise_right", v[first:].clone(), persistent=False)  # (deepest, in)

    def terms(self, adapter: str) -> tuple[Tensor, Tensor]:
        """The change as a product: what is added and what is cut, (out, r + cut) and (r + cut, in)."""
        config, b = self.settings[adapter], self.tensor("lora_B", adapter)
        strength = self.strength(adapter)
        scale = strength * chosen(config.alpha_pattern, self.target, config.alpha) / b.shape[1]
        first = self.deepest - self.cut(config)
        noise = -strength * self.noise_left[:, first:]
        left = torch.cat([scale * b * self.tensor("lora_diag", adapter), noise], dim=1)
        return left, torch.cat([self.tensor("lora_A", adapter), self.noise_right[first:]])

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        left, right = self.terms(adapter)
        return weight + left @ right, bias

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        left, right = self.terms(adapter)
        return y + self._cast_input_dtype(x, left.dtype) @ right.T @ left.T

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        config = self.settings[adapter]
        a, b, d = (self.tensor(name, adapter) for name in ("lora_A", "lora_B", "lora_diag"))
        if config.loss == "official":
            # Vectors, of whose entries the mean over the layers is taken.
            spectrum, distance = d.square().sum()[None], (from_identity(a.T) + from_identity(b))[None]
        else:
            spectrum, distance = d.square().sum(), from_identity(a) + from_identity(b.T)
        return {"spectrum": config.beta * spectrum, "orthogonality": config.gamma * distance}


def from_identity(matrix: Tensor) -> Tensor:
    """||M M^T - I||_F of a matrix M, (rows, columns)."""
    product = matrix @ matrix.T
    return torch.linalg.norm(product - torch.eye(len(product), dtype=product.dtype, device=product.device))


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The fork's `lora_A.weight`, `lora_B.weight` and `lora_diag` of one layer as our tensors."""
    return {"lora_A": state["lora_A.weight"], "lora_B": state["lora_B.weight"], "lora_diag": state["lora_diag"]}
