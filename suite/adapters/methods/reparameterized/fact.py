"""FacT: the changes of all weights of a transformer are one tensor, which is decomposed.

Jie and Deng, FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer, arXiv 2212.03145, section 3.2. Every
weight is cut into blocks of d x d; U and V are those of all layers, and each block has a small matrix of its own:

    tensor train:  dW = s V^T M^T U^T,  M: r x r        Tucker:  M = sum_k p_k C_k,  C: r x r x r of all layers

so that y += s (x U M) V for a block's part of x, with U: d x r and V: r x d = 0 at the start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo


@dataclass
class FactConfig(TunerConfig):
    """Settings of FacT."""

    r: int = field(default=16, metadata={"help": "Rank of every block."})
    form: Literal["tt", "tk"] = field(default="tt", metadata={"help": "`tt` (tensor train) or `tk` (Tucker)."})
    width: int | None = field(
        default=None, metadata={"help": "d, which divides all sizes; None for the largest that divides a layer's two."}
    )
    scaling: float = field(default=1.0, metadata={"help": "s; the paper takes 0.01 to 100.", "strength": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")


@tuner(
    MethodInfo(
        "fact",
        paper="2212.03145",
        trainable="blocks of rank r, shared ends once",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    FactConfig,
)
class Fact(WeightChange):
    """y + s (x U M) V, block by block."""

    parameter_names: ClassVar = ("u", "v", "middle", "core")
    shared_names: ClassVar = ("u", "v", "core")

    def sharing(self, adapter: str) -> str:
        return str(self._width(self.settings[adapter]))

    def _width(self, config: FactConfig) -> int:
        """The d of this layer.

        Raises:
            ValueError: the d that was given does not divide its sizes.
        """
        width = math.gcd(self.in_features, self.out_features) if config.width is None else config.width
        if width < 1 or self.in_features % width or self.out_features % width:
            sizes = f"{self.in_features} in, {self.out_features} out"
            raise ValueError(f"{self.target}: width={width} does not divide its sizes ({sizes})")
        return width

    def create(self, adapter: str, config: FactConfig) -> dict[str, Tensor]:
        self.settings[adapter] = config
        width, r = self._width(config), config.r
        blocks = self.out_features // width, self.in_features // width
        u, v = nn.init.kaiming_uniform_(torch.empty(width, r), a=math.sqrt(5)), torch.zeros(r, width)
        if not config.init_weights:
            nn.init.normal_(v, std=0.3)
        if config.form == "tt":
            return {"u": u, "v": v, "middle": torch.empty(*blocks, r, r).uniform_(-(r**-0.5), r**-0.5)}
        core = nn.init.xavier_uniform_(torch.empty(r, r, r))
        return {"u": u, "v": v, "middle": nn.init.xavier_uniform_(torch.empty(blocks[0] * blocks[1], r)), "core": core}

    def matrices(self, adapter: str) -> Tensor:
        """M of every block: (out / d, in / d, r, r)."""
        middle = self.tensor("middle", adapter)
        if self.settings[adapter].form == "tt":
            return middle
        width = self._width(self.settings[adapter])
        own = torch.einsum("bk,kij->bij", middle, self.tensor("core", adapter))
        return own.unflatten(0, (self.out_features // width, self.in_features // width))

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        u, v = self.tensor("u", adapter), self.tensor("v", adapter)
        delta = torch.einsum("di,abij,je->aebd", u, self.matrices(adapter), v).reshape(weight.shape)
        return weight + self.factor(adapter) * delta.to(weight.dtype), bias

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        u, v = self.tensor("u", adapter), self.tensor("v", adapter)
        parts = self._cast_input_dtype(x, u.dtype).unflatten(-1, (-1, len(u))) @ u  # (..., in / d, r)
        mixed = torch.einsum("...bi,abij->...aj", parts, self.matrices(adapter))  # (..., out / d, r)
        return torch.add(y, (mixed @ v).flatten(-2), alpha=self.factor(adapter))
