"""Conv-Adapter: beside a convolution, a depth-wise and a point-wise one in a bottleneck.

Chen et al., Conv-Adapter: Exploring Parameter Efficient Transfer Learning for ConvNets, arXiv 2208.07463, section 3.2:

    h + alpha * point(relu(depth(x))),   alpha: a factor for each channel

x is what the convolution is given, and h what comes out of it. In a ResNet bottleneck the authors add it behind norm
and activation: target the block, with `reads="conv2", adds_before="conv3"`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import tuner
from suite.adapters.carriers.branch import Branch, BranchConfig
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class ConvnetAdapterConfig(BranchConfig):
    """Settings of Conv-Adapter."""

    adapt_size: int = field(default=8, metadata={"help": "Channels by channels in the middle, which are groups too."})


@tuner(
    MethodInfo(
        "convnet_adapter",
        paper="2208.07463",
        trainable="a depth-wise and a point-wise convolution",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Conv2d",),
    ),
    ConvnetAdapterConfig,
)
class ConvnetAdapter(Branch):
    """h + alpha * point(relu(depth(x)))."""

    parameter_names: ClassVar = ("conv1_w", "conv1_b", "conv2_w", "conv2_b", "se")

    def create(self, adapter: str, config: ConvnetAdapterConfig) -> dict[str, Tensor]:
        self.connect(config)
        beside = self.beside(config.reads)
        read, added = beside.in_channels, beside.out_channels
        width = max(1, read // config.adapt_size)
        if read % width:
            raise InputError(
                f"{self.target}: adapt_size={config.adapt_size} leaves {width} groups, "
                f"which do not divide {read} channels"
            )
        depth = nn.Conv2d(read, width, beside.kernel_size, groups=width)
        point = nn.Conv2d(width, added, 1)
        tensors = {"conv1_w": depth.weight, "conv1_b": depth.bias, "conv2_w": point.weight, "conv2_b": point.bias}
        return {**{name: tensor.detach() for name, tensor in tensors.items()}, "se": torch.ones(added)}

    def beside(self, name: str) -> nn.Conv2d:
        """The convolution whose input is read."""
        found = self.inside(name)
        if not isinstance(found, nn.Conv2d):
            raise InputError(f"{self.target}: {type(found).__name__} is no Conv2d; name one in reads")
        return found

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        depth, depth_b, point, point_b, factors = (self.tensor(name, adapter) for name in self.parameter_names)
        beside = self.beside(self.settings[adapter].reads)
        places = {"stride": beside.stride, "padding": beside.padding, "dilation": beside.dilation}
        h = self._cast_input_dtype(h, depth.dtype)
        hidden = torch.relu(functional.conv2d(h, depth, depth_b, groups=len(depth), **places))
        return functional.conv2d(hidden, point, point_b) * factors[:, None, None]


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `conv{1,2}.{weight,bias}` and `se` of one adapter as our tensors."""
    parts = {f"conv{n}_{kind[0]}": state[f"conv{n}.{kind}"] for n in (1, 2) for kind in ("weight", "bias")}
    return {**parts, "se": state["se"].flatten()}
