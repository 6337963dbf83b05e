"""Convolution adapters on sequences: dilated residual blocks and squeeze-and-excitation between two projections.

Exploring Adapter Design Tradeoffs for Low Resource Music Generation, arXiv 2506.21298, whose figure shows the parts;
their sizes, and causality, are ours:

    z = down(h)
    for each dilation:  z = z + conv_1(gelu(conv_k(gelu(norm(z)))))
    y = h + dropout(up(z * sigmoid(excite(relu(squeeze(mean z))))))

A causal adapter pads on the left alone and takes the mean over the past; teacher-forced training would otherwise see
the tokens that it is to predict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import tuner
from suite.adapters.methods.additive.sequences import (
    SequenceConfig,
    SequenceSite,
    State,
    fit_rows,
    keep,
    masked,
    start_at_identity,
)
from suite.adapters.registry import MethodInfo


class DilatedBlock(nn.Module):
    """z + conv_1(gelu(conv_k(gelu(norm(z))))), the convolution over the steps."""

    def __init__(self, width: int, kernel: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, dilation=dilation)
        self.point = nn.Conv1d(width, width, 1)
        self.reach = (kernel - 1) * dilation
        self.causal = causal

    def forward(self, z: Tensor, state: State | None, name: str, valid: Tensor | None) -> Tensor:
        """(B, T, m) to (B, T, m); `state[name]` (B, reach, m) is what was convolved in the steps before."""
        x = masked(functional.gelu(self.norm(z)), valid)
        if state is not None:
            x = torch.cat([state[name], x], 1)  # (B, reach + T, m)
            keep(state, name, x[:, x.shape[1] - self.reach :])
        else:
            left = self.reach if self.causal else self.reach // 2
            x = functional.pad(x, (0, 0, left, self.reach - left))
        x = self._step(x) if z.shape[1] == 1 else self.conv(x.mT).mT  # (B, T, m)
        return z + functional.linear(functional.gelu(x), self.point.weight[..., 0], self.point.bias)

    def _step(self, x: Tensor) -> Tensor:
        """The convolution of one window (B, reach + 1, m): a product is several times as fast as the general case."""
        taps = x[:, :: self.conv.dilation[0]].mT  # (B, m, kernel)
        return functional.linear(taps.flatten(1), self.conv.weight.flatten(1), self.conv.bias)[:, None]


class ConvBranch(nn.Module):
    """What is between the states and what is added to them."""

    def __init__(self, width: int, config: ConvAdapterConfig) -> None:
        super().__init__()
        m = config.bottleneck_size
        self.down, self.up = nn.Linear(width, m), nn.Linear(m, width)
        self.blocks = nn.ModuleList(DilatedBlock(m, config.kernel_size, d, config.causal) for d in config.dilations)
        squeezed = max(1, m // config.reduction)
        self.squeeze, self.excite = nn.Linear(m, squeezed), nn.Linear(squeezed, m)
        self.causal, self.dropout = config.causal, config.dropout
        start_at_identity(self.down, self.up, config.init_weights)

    def memory(self, h: Tensor) -> State:
        """Nothing seen yet: zeros, as the padding of a whole sequence."""
        m = self.down.out_features
        columns = {f"block{i}": h.new_zeros(len(h), cast(int, block.reach), m) for i, block in enumerate(self.blocks)}
        return {**columns, "sum": h.new_zeros(len(h), 1, m), "count": h.new_zeros(len(h), 1, 1)}

    def forward(self, h: Tensor, state: State | None = None, valid: Tensor | None = None) -> Tensor:
        """What is added to the states (B, T, d).

        Args:
            state: what was remembered of the steps before.
            valid: (B, T) where there is no padding, for adapters that see the whole sequence.
        """
        z = self.down(h)  # (B, T, m)
        for number, block in enumerate(self.blocks):
            z = block(z, state, f"block{number}", valid)
        z = z * self._gate(self._mean(z, state, valid))
        return functional.dropout(self.up(z), self.dropout, self.training)

    def _gate(self, mean: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(functional.relu(self.squeeze(mean))))

    def _mean(self, z: Tensor, state: State | None, valid: Tensor | None) -> Tensor:
        """The mean over the past (B, T, m), or over the whole sequence (B, 1, m)."""
        if not self.causal:
            number = z.shape[1] if valid is None else valid.sum(1).clamp_min(1)[:, None, None]
            return masked(z, valid).sum(1, keepdim=True) / number
        if z.shape[1] == 1 and state is not None:  # the same in two kernels
            return state["sum"].add_(z) / state["count"].add_(1)
        total = z.cumsum(1)
        count = torch.arange(1, 1 + z.shape[1], device=z.device, dtype=z.dtype)[:, None]  # (T, 1)
        if state is None:
            return total / count
        total, counts = total + state["sum"], count + state["count"]  # (B, T, m), (B, T, 1)
        keep(state, "sum", total[:, -1:])
        keep(state, "count", counts[:, -1:])
        return total / counts


@dataclass
class ConvAdapterConfig(SequenceConfig):
    """Settings of convolution adapters."""

    dilations: list[int] = field(
        default_factory=lambda: [1, 2, 4, 8], metadata={"help": "Of the residual blocks, one each."}
    )
    kernel_size: int = field(default=3, metadata={"help": "Steps that a convolution sees."})
    reduction: int = field(default=4, metadata={"help": "How much narrower squeeze-and-excitation is inside."})
    causal: bool = field(
        default=True, metadata={"help": "See the past alone; must be so wherever the next token is predicted."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size < 1 or self.reduction < 1 or not self.dilations or min(self.dilations) < 1:
            raise ValueError("kernel_size, reduction and every one of dilations must be at least 1")


@tuner(
    MethodInfo(
        "conv_adapter",
        paper="2506.21298",
        trainable="two projections and convolutions between them",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "LayerNorm", "TransformerBlock"),
    ),
    ConvAdapterConfig,
)
class ConvAdapter(SequenceSite):
    """y = h + dropout(up(excited(dilated(down(h))))); reads `valid` and `stream` from the context."""

    def make(self, width: int, config: ConvAdapterConfig) -> nn.Module:
        return ConvBranch(width, config)

    def change(self, h: Tensor, adapter: str) -> Tensor:
        branch: ConvBranch = self.tensor("branch", adapter)
        if not branch.causal:
            return h + branch(h, valid=fit_rows(self.context.get("valid"), h))
        state, _ = self.memory(adapter, lambda: branch.memory(h))
        return h + branch(h, state)
