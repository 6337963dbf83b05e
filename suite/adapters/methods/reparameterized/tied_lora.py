"""LoRA on a projection that is fused in the authors' code and separate layers here: query, key and value share A.

TempMe (arXiv 2409.01156, section 3.2) and other methods on CLIP put one LoRA (Hu et al., arXiv 2106.09685) on the
in-projection of an attention, W (3 D, D):

    [q; k; v] = W x + b + s B A x        A: (r, D), B: (3 D, r)

Models of transformers keep W as three layers. Theirs is then one A and the rows of one B, which here are one parameter
each for all layers of an attention, are saved once, and are a quarter fewer numbers than a LoRA for each layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from suite.adapters.carriers import LowRankChange, TunerConfig, tuner
from suite.adapters.fused.lora import LowRank
from suite.adapters.registry import MethodInfo


@dataclass
class TiedLoraConfig(TunerConfig):
    """Settings of LoRA over layers that are parts of one projection."""

    r: int = field(default=8, metadata={"help": "Rank of the change; columns of B."})
    scale: float = field(
        default=1.0, metadata={"help": "s, which LoRA calls alpha / r.", "live": True, "strength": True}
    )
    parts: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj"],
        metadata={
            "help": (
                "Names of the layers that are parts of one projection, in the order in which it stacks their rows. A "
                "target of another name has a LoRA of its own."
            )
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ValueError(f"r {self.r} must be at least 1")
        if len(set(self.parts)) != len(self.parts) or not self.parts:
            raise ValueError(f"parts {self.parts} must be different names, at least one")


@tuner(
    MethodInfo(
        "tied_lora",
        paper="2409.01156",
        trainable="products of rank r, some shared",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear",),
    ),
    TiedLoraConfig,
)
class TiedLora(LowRankChange):
    """W + s B_part A, with A and B of a whole projection."""

    parameter_names: ClassVar = ("A", "B")
    shared_names: ClassVar = ("A", "B")

    def create(self, adapter: str, config: TiedLoraConfig) -> dict[str, Tensor]:
        a = torch.empty(config.r, self.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        b = torch.zeros(self._places(config)[1] * self.out_features, config.r)
        if not config.init_weights:
            nn.init.normal_(b, std=0.1)
        return {"A": a, "B": b}

    def sharing(self, adapter: str) -> str:
        whole, _, name = self.target.rpartition(".")
        return whole if name in self.settings[adapter].parts else self.target

    def _places(self, config: TiedLoraConfig) -> tuple[int, int]:
        """Which part of the projection this layer is, and of how many."""
        name = self.target.rpartition(".")[2]
        return (config.parts.index(name), len(config.parts)) if name in config.parts else (0, 1)

    def factors(self, adapter: str) -> LowRank:
        """A (r, in), the layer's own rows of B (out, r), and the scale."""
        place, _ = self._places(self.settings[adapter])
        rows = self.tensor("B", adapter)[place * self.out_features : (place + 1) * self.out_features]
        return LowRank(self.tensor("A", adapter), rows, self.factor(adapter))


def official_tensors(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """TempMe's `TVPt_LoRA_a` (r, D) and `TVPt_LoRA_b` (3 D, r) of one attention as our tensors."""
    return {"A": a, "B": b}
