"""Attaching, switching, saving and loading with peft's own methods on one base."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from suite import adapters
from suite.errors import InputError


def test_in_place_and_counted(llama, tokens):
    model = llama()
    before = model(tokens).logits
    assert adapters.attach(model, "lora", r=4, targets=["q_proj"]) is model
    assert torch.equal(model(tokens).logits, before)
    trainable = 2 * (32 * 4 + 4 * 32)
    assert adapters.count(model) == (trainable, sum(p.numel() for p in model.parameters()))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"model.layers.{layer}.self_attn.q_proj.lora_{part}.default.weight" for layer in (0, 1) for part in "AB"
    }


def test_three_named_adapters_on_one_base(llama, tokens, randomise, tmp_path):
    model = llama()
    outputs = {}
    for rank, name in enumerate(("relation", "subject", "fact"), start=1):
        adapters.attach(model, "lora", r=rank, targets=["q_proj", "v_proj"], name=name)
        randomise(model)
        outputs[name] = model(tokens).logits
        adapters.save(model, tmp_path / name, base="tiny", extra={"task": name})
    assert adapters.attached(model) == ["relation", "subject", "fact"]
    other = llama()
    for name in outputs:
        adapters.load(other, tmp_path / name, name=name)
    assert adapters.count(other).trainable == 0
    for switched in (model, other):
        for name in ("subject", "relation", "fact"):
            adapters.activate(switched, name)
            assert adapters.active(switched) == [name]
            assert torch.equal(switched(tokens).logits, outputs[name])
    adapters.activate(model, "subject")
    assert all(".subject." in name for name, p in model.named_parameters() if p.requires_grad)
    assert adapters.read_manifest(tmp_path / "fact")["domain"] == {"task": "fact"}


def test_plain_peft_reads_what_we_save(llama, tokens, randomise, tmp_path):
    model = adapters.attach(llama(), "lora", r=3, targets=["q_proj", "down_proj"])
    randomise(model)
    adapters.save(model, tmp_path / "a", base="hf:org/name@main")
    assert json.loads((tmp_path / "a/adapter_config.json").read_text())["base_model_name_or_path"] == "org/name"
    assert torch.equal(PeftModel.from_pretrained(llama(), str(tmp_path / "a"))(tokens).logits, model(tokens).logits)


def test_we_read_what_plain_peft_saves(llama, tokens, randomise, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["v_proj"]))
    randomise(model)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="cannot be checked"):
        ours = adapters.load(llama(), tmp_path)
    assert torch.equal(ours(tokens).logits, model(tokens).logits)


def test_disabled_is_the_bare_base(llama, tokens, randomise):
    model = llama()
    before = model(tokens).logits
    adapters.attach(model, "lora", targets=["q_proj"])
    randomise(model)
    adapted = model(tokens).logits
    flags = [p.requires_grad for p in model.parameters()]
    with adapters.disabled(model):
        assert torch.equal(model(tokens).logits, before)
    assert torch.equal(model(tokens).logits, adapted)
    assert flags == [p.requires_grad for p in model.parameters()]


def test_composition_keeps_order_names_and_values(llama, tokens, randomise, tmp_path):
    model = adapters.attach(
        llama(), dict(method="lora", r=3), dict(method="ia3", feedforward_modules=[]), targets=["q_proj"]
    )
    randomise(model)
    output = model(tokens).logits
    adapters.save(model, tmp_path / "both", base="tiny")
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["README.md", "ia3", "lora", "suite.json"]
    assert not any("base_layer" in key for key in load_file(tmp_path / "both/lora/adapter_model.safetensors"))
    again = adapters.load(llama(), tmp_path / "both", name="other")
    assert torch.equal(again(tokens).logits, output)
    adapters.merge(again)
    torch.testing.assert_close(again(tokens).logits, output, atol=1e-5, rtol=0)
    adapters.unmerge(again)
    torch.testing.assert_close(again(tokens).logits, output, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        PeftModel.from_pretrained(llama(), str(tmp_path / "both/lora"))(tokens).logits.shape, output.shape
    )


def test_detach_gives_the_base_back(llama, tokens, randomise):
    model = llama()
    before, keys = model(tokens).logits, list(model.state_dict())
    adapters.attach(model, "lora", targets=["q_proj"], name="one")
    adapters.attach(model, "loha", targets=["q_proj"], name="two")
    randomise(model)
    assert adapters.detach(model, "one") is model
    assert adapters.attached(model) == ["two"]
    assert adapters.detach(model) is model
    assert torch.equal(model(tokens).logits, before)
    assert list(model.state_dict()) == keys


def test_deepcopy_is_independent(llama, tokens, randomise):
    model = adapters.attach(llama(), "lora", targets=["q_proj"])
    randomise(model)
    output = model(tokens).logits
    twin = copy.deepcopy(model)
    adapters.attach(twin, "lora", targets=["k_proj"], name="second")
    assert adapters.attached(model) == ["default"]
    assert torch.equal(model(tokens).logits, output)


def test_ties_hold_and_count(llama, tokens, randomise, tmp_path):
    model = adapters.attach(llama(), "lora", r=2, targets=["q_proj"], tie_groups=[["*lora_A.weight"]])
    assert adapters.count(model).trainable == 32 * 2 + 2 * 2 * 32
    randomise(model)
    adapters.save(model, tmp_path / "tied", base="tiny")
    again = adapters.load(llama(), tmp_path / "tied", trainable=True)
    assert adapters.count(again).trainable == adapters.count(model).trainable
    assert torch.equal(again(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize(
    ("methods", "settings", "message"),
    [
        (["lorra"], {}, "unknown adapter method 'lorra'; did you mean 'lora'"),
        (["lora"], {"rr": 3, "targets": ["q_proj"]}, "unknown setting 'rr'; did you mean 'r'"),
        (["lora"], {"targets": ["q_prj"]}, "target 'q_prj' is no module of the model; did you mean 'q_proj'"),
        (["lora"], {"targets": ["q_proj"], "r": -1}, "lora:"),
        (["lora", "loha"], {"r": 3}, "exactly one method"),
        ([], {}, "nothing to attach"),
        (["lora"], {"targets": ["q_proj"], "name": "a.b"}, "adapter name"),
    ],
)
def test_refusals_leave_the_model_unchanged(llama, tokens, methods, settings, message):
    model = llama()
    before, keys = model(tokens).logits, list(model.state_dict())
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        adapters.attach(model, *methods, **settings)
    assert "\n" not in str(caught.value)
    assert list(model.state_dict()) == keys
    assert torch.equal(model(tokens).logits, before)
    assert all(p.requires_grad for p in model.parameters())


def test_load_refuses_damage_and_changes_nothing(llama, tokens, tmp_path):
    model = adapters.attach(llama(), "lora", targets=["q_proj"])
    adapters.save(model, tmp_path / "a", base="tiny")
    weights = tmp_path / "a/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    other = llama()
    with pytest.raises(InputError, match="damaged"):
        adapters.load(other, tmp_path / "a")
    smaller = adapters.attach(llama(), "lora", r=2, targets=["q_proj"])
    adapters.save(smaller, tmp_path / "b", base="tiny")
    weights.write_bytes((tmp_path / "b/adapter_model.safetensors").read_bytes())
    with pytest.raises(InputError, match="does not fit the model"):
        adapters.load(other, tmp_path / "a")
    assert adapters.attached(other) == []
    with pytest.raises(InputError, match="no adapter folder"):
        adapters.load(other, tmp_path / "nowhere")
    (tmp_path / "a/suite.json").write_text('{"format": 1, "adapters": [{"folder": "../b"}], "base": {}}')
    with pytest.raises(InputError, match="not the name of a folder"):
        adapters.load(other, tmp_path / "a")


def test_merged_adapters_are_not_switched_or_saved(llama, tmp_path):
    model = adapters.attach(llama(), "lora", targets=["q_proj"])
    adapters.merge(model)
    with pytest.raises(InputError, match="unmerge"):
        adapters.activate(model, "default")
    with pytest.raises(InputError, match="unmerge"):
        adapters.save(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_meta_device_count():
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2))
        adapters.attach(model, "lora", r=16, targets=["q_proj", "v_proj"])
    assert adapters.count(model).trainable == 2 * 2 * 2 * 16 * 4096
