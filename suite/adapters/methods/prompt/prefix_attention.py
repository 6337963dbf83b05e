"""Prefixes in every attention: trained keys and values that come before the sequence's own.

Li and Liang, Prefix-Tuning, arXiv 2101.00190; as a part of the MAM adapter, He et al., arXiv 2110.04366, equation 1, in
the self-attentions of encoder and decoder and in the cross-attention:

    softmax(Q [P_K; K]^T / sqrt(d)) [P_V; V]

With `inner` channels the prefixes of all attentions of a kind come from one table of embeddings and one hidden layer:
[P_K; P_V] of layer l = V_l tanh(U E + b) + c_l. peft's prefix_tuning reaches decoders alone, through their cache.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, tuner
from suite.adapters.carriers.attention import Attend, AttentionSite, widened
from suite.adapters.registry import MethodInfo


@dataclass
class PrefixAttentionConfig(TunerConfig):
    """Settings of prefixes in attentions."""

    tokens: int = field(default=30, metadata={"help": "Keys and values that come first."})
    inner: int | None = field(
        default=None, metadata={"help": "Channels of the hidden layer that makes them (the paper: 800); None for none."}
    )
    dropout: float = field(default=0.0, metadata={"help": "On the prefixes.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1 or (self.inner is not None and self.inner < 1):
            raise ValueError(f"tokens={self.tokens} and inner={self.inner} must be at least 1")


@tuner(
    MethodInfo(
        "prefix_attention",
        paper="2110.04366",
        trainable="keys and values of prefixes",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        layers=("TransformersAttention",),
    ),
    PrefixAttentionConfig,
)
class PrefixAttention(AttentionSite):
    """softmax(Q [P_K; K]^T / sqrt(d)) [P_V; V]."""

    parameter_names: ClassVar = ("prefix", "embedding", "inner_w", "inner_b", "outer_w", "outer_b")
    shared_names: ClassVar = ("embedding", "inner_w", "inner_b")
    adds_keys = True

    def sharing(self, adapter: str) -> str:
        """Attentions of a kind: those whose names differ in numbers alone."""
        return re.sub(r"\d+", "#", self.target)

    def create(self, adapter: str, config: PrefixAttentionConfig) -> dict[str, Tensor]:
        width = self.width
        if config.inner is None:
            return {"prefix": 0.02 * torch.randn(2, config.tokens, width)}
        inner, outer = torch.empty(config.inner, width), torch.empty(2 * width, config.inner)
        for tensor in (inner, outer):
            torch.nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
        biases = {"inner_b": torch.zeros(config.inner), "outer_b": torch.zeros(2 * width)}
        return {"embedding": torch.randn(config.tokens, width), "inner_w": inner, "outer_w": outer, **biases}

    @property
    def width(self) -> int:
        """Channels of all keys of a token."""
        projection = getattr(self.host, "k_proj", None) or self.host.k
        return int(projection.out_features)

    def states(self, adapter: str) -> tuple[Tensor, Tensor]:
        """P_K and P_V, (tokens, width) each."""
        config = self.settings[adapter]
        if config.inner is None:
            key, value = self.tensor("prefix", adapter)
        else:
            hidden = functional.linear(*(self.tensor(name, adapter) for name in ("embedding", "inner_w", "inner_b")))
            made = functional.linear(hidden.tanh(), self.tensor("outer_w", adapter), self.tensor("outer_b", adapter))
            key, value = made.chunk(2, dim=-1)
        return functional.dropout(key, config.dropout, self.training), functional.dropout(
            value, config.dropout, self.training
        )

    def attend(
        self, inner: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, adapter: str
    ) -> tuple[Tensor, Tensor | None]:
        batch, heads, _, size = key.shape
        prefixes = [  # (B, kv heads, tokens, d)
            state.view(-1, heads, size).transpose(0, 1).expand(batch, -1, -1, -1).to(key.dtype)
            for state in self.states(adapter)
        ]
        mask = widened(mask, query, key, prefixes[0].shape[2], causal=self.asks_for_the_past)
        key, value = (torch.cat(pair, dim=2) for pair in zip(prefixes, (key, value), strict=True))
        return inner(query, key, value, mask)


def official_tensors(
    state: dict[str, Tensor], embedding: str, layers: str, number: int, width: int
) -> dict[str, Tensor]:
    """The authors' tables of one kind of attention as the tensors of its layer `number`.

    Args:
        state: `<embedding>.weight` and `<layers>.{0,2}.{weight,bias}`, the last for all layers together.
        embedding: `wte`, `wte2` (cross-attention) or `wte_enc`.
        layers: `control_trans`, `control_trans2` or `control_trans_enc`.
        number: of the layer.
        width: channels of a key.
    """
    own = slice(2 * width * number, 2 * width * (number + 1))
    return {
        "embedding": state[f"{embedding}.weight"],
        "inner_w": state[f"{layers}.0.weight"],
        "inner_b": state[f"{layers}.0.bias"],
        "outer_w": state[f"{layers}.2.weight"][own],
        "outer_b": state[f"{layers}.2.bias"][own],
    }
