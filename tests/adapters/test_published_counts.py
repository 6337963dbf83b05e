"""The papers' numbers of trained parameters, on models without storage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from suite import adapters


def llama(**changes: Any) -> nn.Module:
    """Llama 3.2 of 3B by default."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(
        vocab_size=128256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**{**sizes, **changes}))


def roberta() -> nn.Module:
    from transformers import RobertaConfig, RobertaModel

    with torch.device("meta"):
        return RobertaModel(RobertaConfig(), add_pooling_layer=False)


def clip() -> nn.Module:
    """The projections of the tower of CLIP ViT-B/16."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    with torch.device("meta"):
        return CLIPVisionModel(CLIPVisionConfig(hidden_size=768, intermediate_size=3072, patch_size=16))


ROBERTA = {"targets": ["query", "value"]}


@pytest.mark.parametrize(
    ("build", "method", "settings", "count"),
    [
        (llama, "lora", {"r": 32, "targets": ["q_proj", "v_proj"]}, 9_175_040),
        (llama, "ia3", {}, 286_720),
        (llama, "ln_tuning", {}, 175_104),
        (llama, "adalora", {"init_r": 64, "total_step": 5000, "targets": ["q_proj", "v_proj"]}, 18_353_664),
        (llama, "prompt_tuning", {"num_virtual_tokens": 200, "task_type": "CAUSAL_LM"}, 614_400),
        (llama, "prefix_tuning", {"num_virtual_tokens": 200, "task_type": "CAUSAL_LM"}, 11_468_800),
        (llama, "adaption_prompt", {"adapter_len": 100, "adapter_layers": 28, "task_type": "CAUSAL_LM"}, 8_601_628),
        (llama, "randlora", {"r": 32, "targets": ["q_proj", "v_proj"]}, 9_289_728),
        (roberta, "lora", {"r": 8, **ROBERTA}, 294_912),
        (roberta, "kasa", {"r": 8, **ROBERTA}, 295_104),
        (roberta, "svfit", {"r": 768, **ROBERTA}, 18_432),
        (roberta, "loldu", {"r": 15, **ROBERTA}, 24 * 15),
        (clip, "pego", {"targets": ["q_proj", "v_proj"], "members": 2}, 294_912),
        (clip, "pego", {"targets": ["q_proj", "v_proj"], "members": 4}, 589_824),
    ],
)
def test_methods_train_as_many_parameters_as_published(
    build: Any, method: str, settings: dict[str, Any], count: int
) -> None:
    assert adapters.count(adapters.attach(build(), method, **settings)).trainable == count
