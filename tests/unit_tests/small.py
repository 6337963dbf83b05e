"""Bases of the study's families, random and small enough for a test, with a tokenizer that they share."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from suite.code import tiny

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "starcoder2": {"num_key_value_heads": 2, "use_bias": True},
    "codegen": {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 512},
    "gpt_bigcode": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "multi_query": True},
}
_SHARED = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}


@lru_cache
def tokenizer() -> Any:
    """A small byte-level BPE of code."""
    return tiny.tokenizer(["def f(x):\n    assert f(1) == 1\n    return x\n" * 20])


def write_base(folder: Path, family: str, biases: float = 0.0) -> Path:
    """Save a base with its tokenizer.

    Args:
        biases: spread of random biases, which are zero in a model that was just made.
    """
    torch.manual_seed(0)
    sizes = FAMILIES[family] if "n_embd" in FAMILIES[family] else {**_SHARED, **FAMILIES[family]}
    words = tokenizer()
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, vocab_size=len(words), **sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, biases)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
