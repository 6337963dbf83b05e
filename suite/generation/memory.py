"""What a language model needs before it is loaded: weights, adapters, and a cache of keys and values.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from suite.files import read_json
from suite.hub import weights

if TYPE_CHECKING:
    import torch

_NEEDED = {
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
}


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


def plain_config(folder: Path) -> Any:
    """The configuration of a base as its file says it; None where the file leaves to transformers what counts here.

    Transformers takes seconds to import, and torch with it.
    """
    file = folder / "config.json"
    stated = read_json(file) if file.is_file() else {}
    return SimpleNamespace(**stated) if stated.keys() >= _NEEDED and "auto_map" not in stated else None


def stored_parameters(folder: Path) -> int | None:
    """How many parameters the weights of a base have, by their headers; None where they are in no safetensors file."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(prod(shape) for file in files for shape in weights.shapes(file).values()) if files else None


def estimate_memory(
    config: Any,
    adapters: Iterable[Path] = (),
    *,
    dtype: torch.dtype,
    quantize: bool = False,
    parameters: int | None = None,
) -> MemoryEstimate:
    """Estimate from the configuration alone, before anything is loaded.

    Args:
        config: of a model of transformers; what `plain_config` gives where `parameters` is given.
        adapters: peft folders that go on it.
        quantize: whether the weights of the linear layers are in 4 bit.
        parameters: of the base, where that is known.
    """
    files = sum(file.stat().st_size for part in adapters for file in part.glob("adapter_model.*"))
    base = parameters * dtype.itemsize if parameters and not quantize else _skeleton_bytes(config, dtype, quantize)
    return MemoryEstimate(base, files, cache_bytes(config, dtype))


def _skeleton_bytes(config: Any, dtype: torch.dtype, quantize: bool) -> int:
    """Bytes of the weights of the model that a configuration describes."""
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM

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
    return round(base)


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of keys and values a token: 2 x layers x heads of keys x their size (Mistral in 16 bit: 128 KiB)."""
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_size * dtype.itemsize


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.2f} GB"
