"""Merging: all or nothing, and never into a weight that is somebody else's as well."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, packed, randomise, sample


def tied_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=31, tie_word_embeddings=True, **sizes)).eval()


@pytest.mark.parametrize(
    ("method", "target", "other"),
    [
        ("lora", "lm_head", "model.embed_tokens"),
        ("ssf", "lm_head", "model.embed_tokens"),
        ("lora", "embed_tokens", "lm_head"),
    ],
)
def test_a_tied_weight_is_not_merged_into(method, target, other):
    model = adapters.attach(tied_llama(), method, targets=[target])
    randomise(model)
    ids = torch.arange(6)[None]
    output = model(ids).logits
    with pytest.raises(InputError, match=rf"{target} cannot be merged, its weight is tied to {other}"):
        adapters.merge(model)
    assert torch.equal(model(ids).logits, output)


def test_a_module_that_stands_in_two_places():
    """peft adapts it under one of its names only; where a shared block holds it, both names lead to the adapter."""
    layer = nn.Linear(8, 8)
    model = adapters.attach(nn.Sequential(layer, layer), "lora", targets=["0"])
    with pytest.raises(InputError, match="0 cannot be merged, its weight is tied to 1"):
        adapters.merge(model)
    block = nn.Sequential(nn.Linear(8, 8))
    model = adapters.attach(nn.Sequential(block, block), "lora", targets=["0.0"])
    randomise(model)
    output = model(torch.ones(1, 8))
    adapters.merge(model)
    torch.testing.assert_close(model(torch.ones(1, 8)), output)


def test_merging_is_all_or_nothing():
    """Layer 1 is folded before layer 0 says that it cannot be."""
    base = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8))
    x, plain = torch.ones(1, 8), base(torch.ones(1, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = adapters.attach(base, "lora", targets=["0", "1"], lora_bias=True)
    randomise(model, scale=0.3)
    output = model(x)
    with pytest.raises(InputError, match="0: Impossible to merge LoRA"):
        adapters.merge(model)
    assert not any(layer.merged for layer in model)
    torch.testing.assert_close(model(x), output)
    torch.testing.assert_close(adapters.detach(model)(x), plain)


def test_a_refused_merge_leaves_earlier_ones_merged():
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1", "fc2"], name="a")
    randomise(model)
    adapters.merge(model)
    output = model(sample("mlp"))
    model.fc1.update_layer("b", 2, 2, config=model.peft_config["a"])
    model.fc1.set_adapter(["a", "b"])
    model.fc1.lora_B["b"].weight.data.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN"):
        adapters.merge(model)
    assert model.fc1.merged_adapters == ["a"] and model.fc2.merged_adapters == ["a"]
    torch.testing.assert_close(model(sample("mlp")), output)


def test_merging_into_four_bits_says_that_it_rounds():
    model = adapters.attach(packed("mlp"), "lora", targets=["fc1"])
    randomise(model)
    with pytest.warns(UserWarning, match="rounded to 4 bits again"):
        adapters.merge(model)


def test_the_merged_state_has_the_bases_names(llama, tokens):
    """Nested layers, whole modules and tokens of peft's, shared tensors of a wrapper."""
    for specs in (
        [dict(method="lora", r=2, modules_to_save=["lm_head"]), dict(method="ssf")],
        [dict(method="lora", r=2, trainable_token_indices=[1, 2])],
        [dict(method="vera", r=2)],
        [dict(method="paca", r=2)],
    ):
        model = adapters.attach(llama(), *specs, targets=["o_proj"])
        randomise(model)
        output = model(tokens).logits
        adapters.merge(model)
        plain = llama()
        state = adapters.merged_state(model)
        extra = {key for key in state if key not in plain.state_dict()}
        assert extra == ({f"model.layers.{i}.self_attn.o_proj.bias" for i in (0, 1)} if len(specs) == 2 else set())
        if not extra:
            plain.load_state_dict(state)
            torch.testing.assert_close(plain(tokens).logits, output)
