"""Linear bottleneck adapters on states, and the published 1 x 1 convolutions on feature maps, which are the same.

Exploring Adapter Design Tradeoffs for Low Resource Music Generation, arXiv 2506.21298. Ours, which starts at the
identity:

    y = h + dropout(up(act(down(h))))

The published one of Mustango's UNet (`norm="layer"`) ends in a LayerNorm over the channels, so that it rescales every
position before it is trained; where it is `added_to` the state, y = h + LN(h + up(act(down(h)))). Several `blocks`
stand in a row before the norm. The published one of MusicGen acts on the waveform, of which 32,000 samples are the
width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from transformers.activations import ACT2FN

from suite.adapters.carriers import tuner
from suite.adapters.methods.additive.sequences import SequenceConfig, SequenceSite, start_at_identity
from suite.adapters.registry import MethodInfo


class LinearBlock(nn.Module):
    """h + dropout(up(act(down(h))))."""

    def __init__(self, width: int, bottleneck: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.act, self.dropout = ACT2FN[activation], dropout

    def forward(self, h: Tensor) -> Tensor:
        added = self.up(self.act(self.down(h)))  # (B, T, d)
        return h + nn.functional.dropout(added, self.dropout, self.training)


class LinearBranch(nn.Module):
    """Blocks in a row and, as published, a LayerNorm."""

    def __init__(self, width: int, config: LinearAdapterConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            LinearBlock(width, config.bottleneck_size, config.non_linearity, config.dropout)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width) if config.norm == "layer" else None
        for block in self.blocks:
            start_at_identity(block.down, block.up, config.init_weights)
            if config.norm == "layer":
                nn.init.xavier_uniform_(block.up.weight)

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        for block in self.blocks:
            h = block(h)
        return h if self.norm is None else self.norm(h)


@dataclass
class LinearAdapterConfig(SequenceConfig):
    """Settings of linear adapters."""

    non_linearity: str = field(default="gelu", metadata={"help": "Name of the activation, as transformers calls it."})
    blocks: int = field(default=1, metadata={"help": "Bottlenecks in a row."})
    norm: Literal["none", "layer"] = field(
        default="none",
        metadata={"help": "`layer` ends in a LayerNorm, as published for Mustango; it does not start at the identity."},
    )
    added_to: list[str] = field(
        default_factory=list,
        metadata={"help": "Endings of the targets whose states the adapter's are added to (with `norm: layer`)."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise ValueError(f"blocks={self.blocks} must be at least 1")
        if self.non_linearity not in ACT2FN:
            raise ValueError(f"non_linearity {self.non_linearity!r} is none of {', '.join(sorted(ACT2FN)[:12])}, ...")


@tuner(
    MethodInfo(
        "linear_adapter",
        paper="2506.21298",
        trainable="two projections",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv2d", "LayerNorm", "GroupNorm", "TransformerBlock"),
    ),
    LinearAdapterConfig,
)
class LinearAdapter(SequenceSite):
    """y = h + dropout(up(act(down(h))))."""

    def make(self, width: int, config: LinearAdapterConfig) -> nn.Module:
        return LinearBranch(width, config)

    def change(self, h: Tensor, adapter: str) -> Tensor:
        new = self.tensor("branch", adapter)(h)
        endings = self.settings[adapter].added_to
        return h + new if any(self.target == name or self.target.endswith(f".{name}") for name in endings) else new


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One published adapter's tensors as those of a `LinearBranch`.

    Args:
        state: `bottleneck_blocks.N.adapter_proj_{down,up}.*` and `norm.*` of a UNet's adapter, or
            `adapter_{down,up}.*` of a waveform's.
    """
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        *front, part, kind = key.split(".")
        if part == "norm":
            ours[f"norm.{kind}"] = value
            continue
        number = front[-1] if front else "0"
        end = part.rpartition("_")[2]
        # A 1 x 1 convolution (out, in, 1, 1) is a linear layer (out, in) on the channels.
        ours[f"blocks.{number}.{end}.{kind}"] = value.flatten(1) if kind == "weight" else value
    return ours
