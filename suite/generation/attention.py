"""Attention of one new token on a CPU in half precision, where torch's fused kernel is many times slower than products.

torch's flash attention for CPUs works through blocks of queries; a single query fills none, and in half precision each
block is converted (torch 2.13: 7.5 ms for 12 rows of 16 heads over 220 tokens; two products and a softmax: 0.8 ms).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "suite_single_token"
HALF = (torch.float16, torch.bfloat16)


@contextmanager
def quick_single_tokens(model: nn.Module) -> Iterator[None]:
    """Let a causal language model of transformers attend this way inside the block, where that is quicker."""
    config: Any = getattr(model, "config", None)
    parameter = next(model.parameters(), None)
    fits = (
        parameter is not None
        and parameter.device.type == "cpu"
        and getattr(model, "dtype", parameter.dtype) in HALF
        and getattr(config, "_attn_implementation", None) == "sdpa"
    )
    if not fits:
        yield
        return
    config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        config._attn_implementation_internal = "sdpa"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention in the form that transformers calls; of several queries its SDPA.

    Args:
        module: the attention layer.
        query: (B, heads, T, d).
        key, value: (B, key heads, S, d).
        attention_mask: (B, 1, T, S) bool, True where a query may look; None: everywhere.
        dropout: of the weights.
        scaling: of the scores; None is 1 / sqrt(d).

    Returns:
        (B, T, heads, d), and None for the weights.
    """
    odd = attention_mask is not None and attention_mask.dtype != torch.bool
    if query.shape[2] != 1 or dropout or odd or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    batch, heads, _, size = query.shape
    groups = query.reshape(batch, key.shape[1], heads // key.shape[1], size)  # queries beside the key head they share
    scores = torch.matmul(groups, key.transpose(2, 3)) * (size**-0.5 if scaling is None else scaling)  # (B, Hkv, G, S)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).reshape(batch, 1, heads, size), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
