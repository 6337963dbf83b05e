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


def t5(**sizes: Any) -> nn.Module:
    """T5 of the base size."""
    from transformers import T5Config, T5ForConditionalGeneration

    base = dict(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(**{**base, **sizes}))


def t0(heads: int, inner: int, hidden: int = 2048) -> nn.Module:
    """T0, a T5 of version 1.1 whose feed-forward is gated."""
    sizes = dict(d_model=hidden, d_kv=64, d_ff=inner, num_layers=24, num_heads=heads)
    return t5(**sizes, feed_forward_proj="gated-gelu", tie_word_embeddings=False)


def vit() -> nn.Module:
    import timm

    with torch.device("meta"):
        return timm.create_model("vit_base_patch16_224", num_classes=0)


def llama_7b() -> nn.Module:
    return llama(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=None,
        tie_word_embeddings=False,
    )


ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMPACTER = {"train": ["*layer_norm*"], "reduction": 32, "n": 4}
IA3 = {"targets": ["k", "v", "wo"], "feedforward_modules": ["wo"]}
SSF = r"patch_embed\.proj|norm|blocks\.\d+\.(norm1|attn\.qkv|attn\.proj|norm2|mlp\.fc1|mlp\.fc2)"
SEQUENCES = {"max_length": 256, "task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 1}
ATTENTION = {"targets": ["q_proj", "v_proj"]}
ENCODER = {"encoder_hidden_size": 3072, "task_type": "CAUSAL_LM"}
ROBERTA = {"targets": ["query", "value"]}
EVERY_LINEAR = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
"""Of a block of an encoder, as AdaLoRA's and IncreLoRA's budgets of an average rank are given over."""


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
        (llama, "lora", {"r": 64, "use_rslora": True, **ATTENTION}, 18_350_080),
        (llama, "loha", {"r": 32, **ATTENTION}, 18_350_080),
        (llama, "hira", {"r": 32, **ATTENTION}, 9_175_040),
        (llama, "lokr", {"r": 32, "decompose_factor": 4, **ATTENTION}, 2_294_656),
        (llama, "beft", {"targets": ["v_proj"]}, 28_672),
        (llama, "ia3", {"targets": ALL_LINEAR, "feedforward_modules": ALL_LINEAR[4:]}, 630_784),
        (llama, "p_tuning", {"num_virtual_tokens": 20, **ENCODER}, 28_382_208),
        (llama_7b, "lora", {"r": 8, "targets": ALL_LINEAR}, 19_988_480),
        (roberta, "lora", {"r": 8, **ROBERTA}, 294_912),
        (roberta, "kasa", {"r": 8, **ROBERTA}, 295_104),
        (roberta, "lora", {"r": 2, "targets": EVERY_LINEAR}, 331_776),
        (roberta, "svfit", {"r": 768, **ROBERTA}, 18_432),
        (roberta, "loldu", {"r": 15, **ROBERTA}, 24 * 15),
        (clip, "pego", {"targets": ["q_proj", "v_proj"], "members": 2}, 294_912),
        (clip, "pego", {"targets": ["q_proj", "v_proj"], "members": 4}, 589_824),
        (llama_7b, "paca", {"r": 8, "targets": ALL_LINEAR}, 10_878_976),
        (llama_7b, "llama_adapter", {}, 1_228_800 + 30 * 32),
        (t5, "compacter", {"targets": ["SelfAttention.o", "DenseReluDense.wo"], **COMPACTER}, 161_728),
        (t5, "compacter", {"targets": ["DenseReluDense.wo"], **COMPACTER}, 104_704),
        (lambda: t0(32, 5120), "ia3", IA3, 540_672),
        (lambda: t0(64, 10240, 4096), "ia3", IA3, 1_081_344),
        (vit, "ssf", {"targets": SSF}, 205_824),
        (t5, "dept", {"num_virtual_tokens": 40, "r": 45, **SEQUENCES}, 76_800),
        (t5, "dept", {"num_virtual_tokens": 60, "r": 30, **SEQUENCES}, 76_800),
        (t5, "dept", {"num_virtual_tokens": 80, "r": 15, **SEQUENCES}, 76_800),
        (vit, "apt", {"targets": ["attn"]}, 1_916_940),
        (vit, "convpass", {"targets": ["attn", "mlp"]}, 327_552),
    ],
)
def test_methods_train_as_many_parameters_as_published(
    build: Any, method: str, settings: dict[str, Any], count: int
) -> None:
    assert adapters.count(adapters.attach(build(), method, **settings)).trainable == count


def test_full_fine_tuning_trains_the_whole_base() -> None:
    assert adapters.count(llama()).total == 3_212_749_824


def test_approximated_prompts_cost_what_their_paper_says() -> None:
    """0.91 billion multiplications in 12 layers of 768 channels, 200 prompts and some 247 tokens."""
    from timm.models.vision_transformer import Attention
    from torch.utils.flop_counter import FlopCounterMode

    def multiplications(model: nn.Module) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 247, 768, device="meta"))
        return counter.get_total_flops() / 2

    with torch.device("meta"):
        attention = nn.Sequential(Attention(768, num_heads=12))
    before = multiplications(attention)
    added = multiplications(adapters.attach(attention, "apt", targets=["0"])) - before
    assert added == 2 * 200 * 247 * 768 + 2 * 4 * 200 * 768
    assert 12 * added / 1e9 == pytest.approx(0.91, rel=0.03)
