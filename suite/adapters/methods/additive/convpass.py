"""Convolutional bypasses: beside attention and MLP of a vision transformer, a convolution over the grid of its patches.

Jie and Deng, Convolutional Bypasses Are Better Vision Transformer Adapters, arXiv 2207.07039, section 3.2:

    h + s up(act(conv3x3(act(down(x))))),   act(z) = z sigmoid(1.702 z)

with x what the attention, or the MLP, is given. Tokens before the grid (the class token) are convolved each alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from suite.adapters.carriers import tuner
from suite.adapters.carriers.branch import Branch, BranchConfig
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class ConvpassConfig(BranchConfig):
    """Settings of Convpass."""

    width: int = field(default=8, metadata={"help": "Channels in the middle."})
    scaling: float = field(default=0.1, metadata={"help": "s; the paper takes 0.01 to 100.", "strength": True})
    grid: list[int] | None = field(
        default=None, metadata={"help": "Rows and columns of patches; None for a square of all but at most one token."}
    )
    conv_init: Literal["identity", "xavier"] = field(
        default="identity", metadata={"help": "How the convolution starts.", "live": True}
    )
    dropout: float = field(default=0.1, metadata={"help": "Before `up`.", "live": True})


@tuner(
    MethodInfo(
        "convpass",
        paper="2207.07039",
        trainable="two projections and a 3x3 convolution",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Attention", "Mlp"),
    ),
    ConvpassConfig,
)
class Convpass(Branch):
    """h + s up(act(conv(act(down(x)))))."""

    parameter_names: ClassVar = tuple(
        f"adapter_{part}_{kind}" for part in ("down", "conv", "up") for kind in ("w", "b")
    )

    def create(self, adapter: str, config: ConvpassConfig) -> dict[str, Tensor]:
        read, added = self.connect(config)
        convolution = torch.zeros(config.width, config.width, 3, 3)
        if config.conv_init == "identity":
            convolution[:, :, 1, 1] += torch.eye(config.width)
        else:
            nn.init.xavier_uniform_(convolution)
        up = torch.zeros(added, config.width)
        if not config.init_weights:
            nn.init.normal_(up, std=0.3)
        tensors = {
            "down_w": nn.init.xavier_uniform_(torch.empty(config.width, read)),
            "conv_w": convolution,
            "up_w": up,
        }
        tensors |= {
            "down_b": torch.zeros(config.width),
            "conv_b": torch.zeros(config.width),
            "up_b": torch.zeros(added),
        }
        return {f"adapter_{name}": tensor for name, tensor in tensors.items()}

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        config, act = self.settings[adapter], ACT2FN["quick_gelu"]
        down, down_b, conv, conv_b, up, up_b = (self.tensor(name, adapter) for name in self.parameter_names)
        if h.dim() != 3:
            raise InputError(
                f"{self.target}: convpass convolves tokens (batch, tokens, channels), not {tuple(h.shape)}"
            )
        rows, columns = self._grid(h.shape[1], config)
        hidden = act(functional.linear(self._cast_input_dtype(h, down.dtype), down, down_b)).transpose(1, 2)
        before = hidden.shape[2] - rows * columns
        patches = hidden[:, :, before:].unflatten(2, (rows, columns))  # (B, width, rows, columns)
        patches = functional.conv2d(patches, conv, conv_b, padding=1).flatten(2)
        if before:
            # A single token is the middle of its own 3 x 3 neighbourhood, the rest of which is padding.
            alone = functional.conv1d(hidden[:, :, :before], conv[:, :, 1, 1:2], conv_b)
            patches = torch.cat([alone, patches], dim=2)
        mixed = act(patches).transpose(1, 2)
        mixed = functional.dropout(mixed, config.dropout, self.training)
        return self.factor(adapter) * functional.linear(mixed, up, up_b)

    def _grid(self, tokens: int, config: ConvpassConfig) -> tuple[int, int]:
        if config.grid is not None:
            rows, columns = config.grid
            if rows * columns <= tokens:
                return rows, columns
            raise InputError(f"{self.target}: a grid of {rows} x {columns} does not fit into {tokens} tokens")
        for patches in (tokens, tokens - 1):
            side = math.isqrt(patches)
            if side * side == patches and side:
                return side, side
        raise InputError(
            f"{self.target}: {tokens} tokens are no square grid, with or without one more; give grid=[r, c]"
        )


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `adapter_{down,conv,up}.{weight,bias}` of one bypass as our tensors."""
    return {
        f"adapter_{part}_{kind[0]}": state[f"adapter_{part}.{kind}"]
        for part in ("down", "conv", "up")
        for kind in ("weight", "bias")
    }
