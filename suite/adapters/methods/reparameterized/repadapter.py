"""RepAdapter: a linear bottleneck before a layer, which folds into the layer's weight.

Luo et al., Towards Efficient Visual Adaption via Structural Re-parameterization, arXiv 2302.08106, equations 5 to 9:

    W (x + s f(x)) + b,   f(x) = B (A x + a) + c        W' = W + s W B A,   b' = b + s W (B a + c)

B is made of `groups` blocks, each of which reads its share of the middle and writes its share of the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo


@dataclass
class RepadapterConfig(TunerConfig):
    """Settings of RepAdapter."""

    hidden: int = field(default=8, metadata={"help": "Channels in the middle."})
    groups: int = field(default=2, metadata={"help": "Blocks of B."})
    scaling: float = field(default=1.0, metadata={"help": "s; the paper takes 0.1 to 10.", "strength": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1 or self.groups < 1 or self.hidden % self.groups:
            raise ValueError(f"groups={self.groups} must be at least 1 and divide hidden={self.hidden}")


@tuner(
    MethodInfo(
        "repadapter",
        paper="2302.08106",
        trainable="hidden * (in + 1) + in * hidden // groups + in",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    RepadapterConfig,
)
class Repadapter(WeightChange):
    """W (x + s f(x)) + b."""

    parameter_names: ClassVar = ("down", "down_b", "up", "up_b")  # up: (groups, in / groups, hidden / groups)

    def create(self, adapter: str, config: RepadapterConfig) -> dict[str, Tensor]:
        if self.in_features % config.groups:
            raise ValueError(f"{self.target}: groups={config.groups} does not divide its {self.in_features} inputs")
        down = nn.init.xavier_uniform_(torch.empty(config.hidden, self.in_features))
        up = torch.zeros(config.groups, self.in_features // config.groups, config.hidden // config.groups)
        if not config.init_weights:
            nn.init.normal_(up, std=0.1)
        return {"down": down, "down_b": torch.zeros(config.hidden), "up": up, "up_b": torch.zeros(self.in_features)}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        down, down_b, up, up_b = (self.tensor(name, adapter).to(weight.dtype) for name in self.parameter_names)
        up = torch.block_diag(*up)  # (in, hidden)
        before = self.factor(adapter) * (up @ down)
        shift = self.factor(adapter) * (weight @ (up @ down_b + up_b))
        return weight + weight @ before, shift if bias is None else bias + shift

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        down, down_b, up, up_b = (self.tensor(name, adapter) for name in self.parameter_names)
        hidden = functional.linear(self._cast_input_dtype(x, down.dtype), down, down_b)
        blocks = torch.einsum("...gh,gch->...gc", hidden.unflatten(-1, (len(up), -1)), up)
        return inner((x + self.factor(adapter) * (blocks.flatten(-2) + up_b)).to(x.dtype))
