"""What a language model needs before it is loaded: weights, adapters, and a cache of keys and values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that prediction needs.

    Attributes:
        base, adapters: weights. cache: keys and values of one token of one row.
    """

    base: int
    adapters: int
    cache: int

    def total(self, tokens: int, batch: int) -> int:
        """Bytes with `batch` rows of `tokens` tokens (prompt and answer) in flight."""
        return self.base + self.adapters + self.cache * tokens * batch


def estimate_memory(
    config: Any, adapters: Iterable[Path] = (), *, dtype: torch.dtype, quantize: bool = False
) -> MemoryEstimate:
    """Estimate from the configuration alone, before anything is loaded.

    Args:
        config: of a model of transformers.
        adapters: peft folders that go on it.
        quantize: whether the weights of the linear layers are in 4 bit.
    """
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    size = dtype.itemsize
    embeddings = {id(module.weight) for module in skeleton.modules() if isinstance(module, nn.Embedding)}
    head = skeleton.get_output_embeddings()
    embeddings |= {id(head.weight)} if head is not None else set()
    base = 0.0
    for parameter in skeleton.parameters():
        # 4-bit codes and a double-quantized scale: 4.127 bits a weight.
        quantized = quantize and parameter.dim() == 2 and id(parameter) not in embeddings
        base += parameter.numel() * (4.127 / 8 if quantized else size)
    weights = sum(file.stat().st_size for part in adapters for file in part.glob("adapter_model.*"))
    return MemoryEstimate(round(base), weights, cache_bytes(config, dtype))


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of keys and values a token: 2 x layers x heads of keys x their size (Mistral in 16 bit: 128 KiB)."""
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_size * dtype.itemsize


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.2f} GB"
