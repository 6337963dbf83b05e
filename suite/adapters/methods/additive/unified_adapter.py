"""The unified view of adapters: a form, what it changes, where it enters, and how it is composed.

He et al., Towards a Unified View of Parameter-Efficient Transfer Learning, arXiv 2110.04366, equation 9 and table 1:

    f(x) = up(act(down(x)))            form: relu, linear (LoRA) or any activation
    parallel: x is the input,          sequential: x is the output h
    add: h + f(x)      scaled: h + s f(x), s fixed or learned      gated: (1 - g) h + g f(x), g learned from 0

What is changed, attention or feed-forward, the targets say; where a block's feed-forward is no module of its own, as
in BART, `reads="fc1", adds_to="fc2"` names its ends. The MAM adapter is this, parallel to the feed-forward, together
with `prefix_attention`.
`adaptformer` (Chen et al., arXiv 2205.13535, equation 3) is s f(x) from the input of a block's second norm to its MLP.
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


@dataclass
class UnifiedAdapterConfig(BranchConfig):
    """Settings of adapters in the unified view."""

    bottleneck_size: int = field(default=512, metadata={"help": "Channels in the middle."})
    form: str = field(default="relu", metadata={"help": "The activation, as transformers calls it; `linear` for none."})
    insertion: Literal["parallel", "sequential"] = field(
        default="parallel", metadata={"help": "Whether it reads the input, or the output.", "live": True}
    )
    composition: Literal["add", "scaled", "gated"] = field(
        default="scaled", metadata={"help": "How it is added; `scaling` says by what factor."}
    )
    scaling: float | str = field(
        default=4.0, metadata={"help": "s, or `learned` for one trained factor that starts at 1.", "live": True}
    )
    layernorm: Literal["none", "in", "out"] = field(
        default="none", metadata={"help": "A norm of what goes in, or of what comes out."}
    )
    init: Literal["lora", "bert"] = field(
        default="lora",
        metadata={"help": "`lora` starts with up = 0; `bert` with both from N(0, 0.02).", "live": True},
    )
    dropout: float = field(default=0.0, metadata={"help": "In the middle.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck_size < 1:
            raise ValueError(f"bottleneck_size={self.bottleneck_size} must be at least 1")
        if self.form not in ACT2FN:
            raise ValueError(f"form {self.form!r} is no activation that transformers knows")
        if isinstance(self.scaling, str) and self.scaling != "learned":
            raise ValueError(f"scaling {self.scaling!r} must be a number or 'learned'")


class _UnifiedAdapter(Branch):
    module_names: ClassVar = ("norm",)
    parameter_names: ClassVar = ("down", "down_b", "up", "up_b", "factor")

    def is_behind(self, adapter: str) -> bool:
        return bool(self.settings[adapter].insertion == "sequential")

    def create(self, adapter: str, config: UnifiedAdapterConfig) -> dict[str, Tensor | nn.Module]:
        read, added = self.connect(config)
        read = added if config.insertion == "sequential" else read
        down, up = torch.empty(config.bottleneck_size, read), torch.zeros(added, config.bottleneck_size)
        if config.init == "bert" or not config.init_weights:
            std = 0.02 if config.init_weights else 0.3
            nn.init.normal_(down, std=std)
            nn.init.normal_(up, std=std)
        else:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        tensors: dict[str, Tensor | nn.Module] = {"down": down, "up": up}
        tensors |= {"down_b": torch.zeros(config.bottleneck_size), "up_b": torch.zeros(added)}
        if config.layernorm != "none":
            tensors["norm"] = nn.LayerNorm(read if config.layernorm == "in" else added)
        if config.composition == "gated" or (config.composition == "scaled" and config.scaling == "learned"):
            gate = 0.0 if config.init_weights else 0.3
            tensors["factor"] = torch.tensor([gate if config.composition == "gated" else 1.0])
        return tensors

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        config, down = self.settings[adapter], self.tensor("down", adapter)
        h = self._cast_input_dtype(h, down.dtype)
        if config.layernorm == "in":
            h = self.tensor("norm", adapter)(h)
        hidden = ACT2FN[config.form](functional.linear(h, down, self.tensor("down_b", adapter)))
        hidden = functional.dropout(hidden, config.dropout, self.training)
        y = functional.linear(hidden, self.tensor("up", adapter), self.tensor("up_b", adapter))
        if config.composition == "scaled":
            y = y * (self.tensor("factor", adapter) if config.scaling == "learned" else float(config.scaling))
        return self.tensor("norm", adapter)(y) if config.layernorm == "out" else y

    def joined(self, output: Tensor, added: Tensor, adapter: str) -> Tensor:
        if self.settings[adapter].composition != "gated":
            return output + added
        return torch.lerp(output, added, self.tensor("factor", adapter).to(output.dtype))


@tuner(
    MethodInfo(
        "unified_adapter",
        paper="2110.04366",
        trainable="a bottleneck in its form",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Attention", "Mlp"),
    ),
    UnifiedAdapterConfig,
)
class UnifiedAdapter(_UnifiedAdapter):
    """h + s up(act(down(x)))."""


@dataclass
class AdaptformerConfig(UnifiedAdapterConfig):
    """Settings of AdaptFormer."""

    bottleneck_size: int = field(default=64, metadata={"help": "Channels in the middle."})
    scaling: float | str = field(default=0.1, metadata={"help": "s, or `learned`.", "live": True})
    reads: str = field(default="norm2", metadata={"help": "The module of a block whose input is read."})
    adds_to: str = field(default="mlp", metadata={"help": "The module of a block whose output is added to."})


@tuner(
    MethodInfo(
        "adaptformer",
        paper="2205.13535",
        trainable="a bottleneck beside the MLP",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("TransformerBlock",),
    ),
    AdaptformerConfig,
)
class Adaptformer(_UnifiedAdapter):
    """MLP(norm2(x)) + s up(relu(down(x)))."""


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `down_proj.*`, `up_proj.*` and `scale` of one adapter as our tensors; the norm is a module."""
    names = {"down_proj.weight": "down", "down_proj.bias": "down_b", "up_proj.weight": "up", "up_proj.bias": "up_b"}
    return {ours: state[theirs] for theirs, ours in {**names, "scale": "factor"}.items() if theirs in state}
