"""The numbers of trainable parameters that the papers print, on models without storage."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh
from tests.golden.registry import discover, golden_folder

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPES: dict[str, tuple[int, int, int, int, int, int]] = {  # vocabulary, width, MLP, blocks, heads, key/value heads
    "llama-7b": (32000, 4096, 11008, 32, 32, 32),
    "llama-13b": (32000, 5120, 13824, 40, 40, 40),
    "llama-3-8b": (128256, 4096, 14336, 32, 32, 8),
}


@cache
def llama(name: str) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    values = dict(zip((*sizes, "num_key_value_heads"), SHAPES[name], strict=True))
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**values))


def trainable(model: nn.Module, *methods: Any, **settings: Any) -> int:
    """How many numbers train; the model is left without adapters."""
    count = adapters.count(adapters.attach(model, *methods, **settings)).trainable
    adapters.detach(model)
    return count


@pytest.mark.parametrize(
    ("name", "k", "count"),
    [
        ("llama-7b", 1, 1_359_872),
        ("llama-7b", 20, 27_197_440),
        ("llama-13b", 1, 2_129_920),
        ("llama-3-8b", 1, 1_376_256),
    ],
)
def test_neuroada(name: str, k: int, count: int) -> None:
    assert trainable(llama(name), "neuroada", targets=LLAMA, k=k) == count


def test_budgets_are_kept_exactly_and_are_counts_or_parts() -> None:
    total = adapters.count(fresh("mlp")).total
    for budget, count in ((60, 60), ("60", 60), ("0.06k", 60), ("10%", round(total / 10)), ("100%", total)):
        assert trainable(fresh("mlp"), "pafi", budget=budget) == count
    for budget in (0, total + 1, "0%", "many", "1e", "-3"):
        with pytest.raises(InputError, match=r"pafi: budget .*(give 1 to 872|write 123456)"):
            adapters.attach(fresh("mlp"), "pafi", budget=budget)


@pytest.mark.parametrize(("name", "count"), [("llama-7b", 2_097_408), ("llama-13b", 3_277_120)])
def test_loreft(name: str, count: int) -> None:
    assert trainable(llama(name), "loreft", r=8) == count
    untied = trainable(llama(name), "loreft", r=8, tied=False)
    assert untied == 2 * count


def test_lofit_is_as_large_as_its_heads() -> None:
    model = llama("llama-7b")
    assert trainable(model, "lofit", stage="scale") == 131_072
    heads = {f"model.layers.{block}.self_attn.o_proj": [block % 32, 3] for block in range(16)}
    settings = {"targets": [*heads], "heads": {name: sorted({*found}) for name, found in heads.items()}}
    count = sum(len({*found}) for found in heads.values())
    assert trainable(model, "lofit", **settings) == count * 128


def vit() -> nn.Module:
    """ViT-B/16 without its head."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):
        return VisionTransformer(num_classes=0)


def test_the_vision_transformer_of_the_unifying_study() -> None:
    """The counts of arXiv 2409.16434; bitfit's is in it too."""
    model = vit()
    assert trainable(model, "difffit") == 140_544
    assert trainable(model, "bitfit") == 102_912
    assert trainable(model, "ln_tuning", targets=r"norm|blocks\.\d+\.norm[12]") == 38_400
    assert trainable(model, "dra") == 24 * 768
    assert trainable(model, "attnscale") == 12 * 197**2
    assert trainable(model, "forecast_peft", r=64) == 24 * (2 * 768 * 64 + 64 + 768)


def test_the_authors_tables_of_keys_have_our_tensors() -> None:
    """Names and sizes of what NeuroAda, LoReFT and LoFiT save for a 7B model."""
    case = next((case for name, case in discover(golden_folder()) if name == "methods_training/keys"), None)
    if case is None:
        pytest.skip("no table of keys at hand (set GOLDEN_DIR)")
    model, rows = llama("llama-7b"), case.rows()
    sizes = {name: tuple(map(int, re.findall(r"\d+", row["shape"]))) for row in rows for name in [_name(row)]}

    adapters.attach(model, "neuroada", targets=LLAMA, k=1)
    ours = {f"{layer.target}.weight_new": tuple(layer.trained("default").shape) for _, layer in adapters.layers(model)}
    ours |= {
        f"{layer.target}.weight_position_new": ours[f"{layer.target}.weight_new"] for _, layer in adapters.layers(model)
    }
    assert ours == {key: size for (method, key), size in sizes.items() if method.startswith("neuroada")}
    adapters.detach(model)

    adapters.attach(model, "loreft", r=8)
    layers = {int(layer.target.rpartition(".")[2]): layer for _, layer in adapters.layers(model)}
    for number, layer in layers.items():
        for ours_, theirs in (("rotate", "rotate_layer"), ("weight", "weight"), ("bias", "bias")):
            file = f"file intkey_layer_{number}_comp_block_output_unit_pos_nunit_1#0.bin"
            [size] = [size for (method, key), size in sizes.items() if file in method and key == theirs]
            assert tuple(layer.tensor(ours_, "default").shape[1:]) == size
    adapters.detach(model)

    adapters.attach(model, "lofit", stage="scale")
    [layer, *_] = [layer for _, layer in adapters.layers(model)]
    heads, size = layer.tensor("scale", "default").shape
    assert sizes["lofit llama2-7b", "model.layers.0.self_attn.attn_A.{0..31}"] == (size,) and heads == 32
    adapters.detach(model)


def _name(row: dict[str, str]) -> tuple[str, str]:
    return row["method"], row["key"].partition(" (")[0]
