"""Random causal language models of two layers, of the families whose attention and logits differ."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn

SIZES: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("Llama", "LlamaConfig", {}),
    "mistral with a window": ("Mistral", "MistralConfig", {"sliding_window": 4}),
    "gemma 3 with mixed windows": (
        "Gemma3",
        "Gemma3TextConfig",
        {"head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen 2": ("Qwen2", "Qwen2Config", {}),
    "gemma 2 with soft caps": (
        "Gemma2",
        "Gemma2Config",
        {"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 0.5},
    ),
    "cohere, whose logits are scaled": ("Cohere", "CohereConfig", {"logit_scale": 0.25}),
    "granite, whose logits are divided": ("Granite", "GraniteConfig", {"logits_scaling": 4.0}),
}
PACKED = ("llama", "mistral with a window", "gemma 3 with mixed windows", "qwen 2")


def language_model(family: str, attention: str | None = None, **changes: Any) -> nn.Module:
    """A model with weights far enough from zero that wrong attention shows; leaves the global generator alone."""
    name, config, own = FAMILIES[family]
    settings = getattr(transformers, config)(**{**SIZES, **own, **changes, "pad_token_id": 0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}ForCausalLM")._from_config(settings, attn_implementation=attention)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def texts(*lengths: int) -> list[dict[str, Tensor]]:
    """Random samples of these lengths, every token a target."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, SIZES["vocab_size"], (length,), generator=generator) for length in lengths]
    return [{"input_ids": row, "labels": row.clone()} for row in rows]
