"""Transformer adapters on sequences: pre-norm blocks between two projections.

Exploring Adapter Design Tradeoffs for Low Resource Music Generation, arXiv 2506.21298, whose figure shows the parts;
their sizes, and causality, are ours:

    z = down(h)
    for each block:  z = z + attention(norm(z));  z = z + ffn(norm(z))
    y = h + dropout(up(z))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import tuner
from suite.adapters.methods.additive.sequences import SequenceConfig, SequenceSite, State, fit_rows, start_at_identity
from suite.adapters.registry import MethodInfo


class AttentionBlock(nn.Module):
    """Self-attention and a feed-forward network four times as wide, each with a norm before and a residual around."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.causal = heads, causal

    def forward(self, z: Tensor, state: State | None, name: str, seen: int, valid: Tensor | None) -> Tensor:
        """(B, T, m) to (B, T, m); keys and values of the `seen` steps before are in `state`."""
        z = z + self.out(self._attended(self.norm1(z), state, name, seen, valid))
        return z + self.fc2(functional.gelu(self.fc1(self.norm2(z))))

    def _attended(self, x: Tensor, state: State | None, name: str, seen: int, valid: Tensor | None) -> Tensor:
        batch, steps, width = x.shape
        q, k, v = (
            self.qkv(x).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, T, m/heads)
        if state is not None:
            k, v = (remember(state, f"{name}.{part}", new, seen) for part, new in (("k", k), ("v", v)))
        mask = None
        if self.causal and seen and steps > 1:
            # Step t of these sees the seen ones and the first t + 1 of these.
            mask = torch.ones(steps, seen + steps, dtype=torch.bool, device=x.device).tril(seen)
        elif valid is not None:
            mask = valid[:, None, None]  # (B, 1, 1, T)
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=self.causal and not seen and steps > 1
        )
        return attended.transpose(1, 2).reshape(batch, steps, width)


def remember(state: State, name: str, new: Tensor, seen: int) -> Tensor:
    """Put `new` (B, heads, T, size) behind what `state[name]` holds of `seen` steps, and return all of them.

    The room doubles when it is full, so that a step copies what came before only now and then.
    """
    needed, room = seen + new.shape[2], state[name].shape[2]
    if needed > room:
        larger = new.new_empty(*new.shape[:2], max(needed, 2 * room, 64), new.shape[3])
        larger[:, :, :seen] = state[name][:, :, :seen]
        state[name] = larger
    state[name][:, :, seen:needed] = new
    return state[name][:, :, :needed]


class AttentionBranch(nn.Module):
    """What is between the states and what is added to them."""

    def __init__(self, width: int, config: AttentionAdapterConfig) -> None:
        super().__init__()
        m = config.bottleneck_size
        self.down, self.up = nn.Linear(width, m), nn.Linear(m, width)
        self.blocks = nn.ModuleList(AttentionBlock(m, config.heads, config.causal) for _ in range(config.blocks))
        self.causal, self.dropout, self.heads = config.causal, config.dropout, config.heads
        start_at_identity(self.down, self.up, config.init_weights)

    def memory(self, h: Tensor) -> State:
        """Nothing seen yet."""
        empty = h.new_empty(len(h), self.heads, 0, self.down.out_features // self.heads)
        return {f"block{i}.{part}": empty for i in range(len(self.blocks)) for part in ("k", "v")}

    def forward(self, h: Tensor, state: State | None = None, seen: int = 0, valid: Tensor | None = None) -> Tensor:
        """What is added to the states (B, T, d); arguments as of `ConvBranch`."""
        z = self.down(h)  # (B, T, m)
        for number, block in enumerate(self.blocks):
            z = block(z, state, f"block{number}", seen, valid)
        return functional.dropout(self.up(z), self.dropout, self.training)


@dataclass
class AttentionAdapterConfig(SequenceConfig):
    """Settings of transformer adapters."""

    heads: int = field(default=4, metadata={"help": "Attention heads; divides the bottleneck."})
    blocks: int = field(default=1, metadata={"help": "Transformer blocks in a row."})
    causal: bool = field(
        default=True, metadata={"help": "See the past alone; must be so wherever the next token is predicted."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.blocks < 1:
            raise ValueError(f"heads={self.heads} and blocks={self.blocks} must be at least 1")
        if self.bottleneck_size % self.heads:
            raise ValueError(f"heads={self.heads} does not divide bottleneck_size={self.bottleneck_size}")


@tuner(
    MethodInfo(
        "attention_adapter",
        paper="2506.21298",
        trainable="two projections and transformer blocks between them",
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "LayerNorm", "TransformerBlock"),
    ),
    AttentionAdapterConfig,
)
class AttentionAdapter(SequenceSite):
    """y = h + dropout(up(blocks(down(h)))); reads `valid` and `stream` from the context."""

    def make(self, width: int, config: AttentionAdapterConfig) -> nn.Module:
        return AttentionBranch(width, config)

    def change(self, h: Tensor, adapter: str) -> Tensor:
        branch: AttentionBranch = self.tensor("branch", adapter)
        if not branch.causal:
            return h + branch(h, valid=fit_rows(self.context.get("valid"), h))
        state, seen = self.memory(adapter, lambda: branch.memory(h))
        new = h + branch(h, state, seen)
        self.advance(adapter, h.shape[1])
        return new


def published_bottleneck(x: Tensor, state: Mapping[str, Tensor], heads: int) -> Tensor:
    """The attention bottleneck of the authors' test file, which no model of theirs holds: no residual, ReLU.

    Args:
        x: (batch, steps, width).
        state: `adapter_proj_{down,up}.*` and `attn.*`, those of an `nn.MultiheadAttention`.
    """
    hidden = functional.relu(functional.linear(x, state["adapter_proj_down.weight"], state["adapter_proj_down.bias"]))
    attention = nn.MultiheadAttention(hidden.shape[-1], heads, batch_first=True, device=x.device, dtype=x.dtype)
    attention.load_state_dict({key.removeprefix("attn."): v for key, v in state.items() if key.startswith("attn.")})
    hidden = attention(hidden, hidden, hidden, need_weights=False)[0]
    return functional.relu(functional.linear(hidden, state["adapter_proj_up.weight"], state["adapter_proj_up.bias"]))
