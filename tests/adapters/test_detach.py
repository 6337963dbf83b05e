"""Taken off, failed, or copied: what is left is the base, or a whole model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


@pytest.mark.parametrize(
    "settings",
    [{"trainable_token_indices": [1, 2]}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}],
    ids=["tokens", "modules", "biases"],
)
def test_detach_leaves_no_trace_of_what_peft_wraps_beside_its_layers(llama, tokens, settings):
    model, base = llama(), llama()
    model = adapters.attach(model, "lora", targets=["q_proj"], name="one", **settings)
    model = adapters.attach(
        model, "lora", targets=["v_proj"], name="two", **(settings if "bias" not in settings else {})
    )
    randomise(model)
    two = model(tokens).logits
    model = adapters.detach(model, "one")
    assert torch.equal(model(tokens).logits, two)
    model = adapters.detach(model)
    assert list(model.state_dict()) == list(base.state_dict())
    assert torch.equal(model(tokens).logits, base(tokens).logits)


def test_a_failed_attach_leaves_no_trace(llama, tokens):
    for before in (llama(), adapters.attach(llama(), "lora", targets=["q_proj"], name="one")):
        names, output = list(before.state_dict()), before(tokens).logits
        flags = [parameter.requires_grad for parameter in before.parameters()]
        with pytest.raises(InputError, match="a1=5 does not divide"):
            adapters.attach(
                before,
                dict(method="lora", targets=["q_proj"], modules_to_save=["lm_head"], bias="all"),
                dict(method="krona", targets=["v_proj"], a1=5),
                name="two",
            )
        assert list(before.state_dict()) == names
        assert [parameter.requires_grad for parameter in before.parameters()] == flags
        assert torch.equal(before(tokens).logits, output)


def test_detach_takes_checkpointing_off(llama):
    model = adapters.attach(llama(), "lora", targets=["q_proj"])
    adapters.enable_checkpointing(model)
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    adapters.detach(model)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    model = adapters.attach(fresh("vit"), "lora", targets=["fc1"])
    adapters.enable_checkpointing(model, ["blocks.0"])
    adapters.detach(model)
    assert "forward" not in vars(model.blocks[0])


@pytest.mark.parametrize("method", ["lora", "krona", "paca", "parallel_adapter", "parameters"])
def test_a_model_with_an_adapter_can_be_pickled(method):
    settings = {
        "parameters": {"parameters": ["fc2"]},
        "paca": {"targets": ["fc1"], "r": 4},
        "krona": {"a1": 4, "a2": 4, "targets": ["fc1"]},
    }
    model = adapters.attach(fresh("mlp"), method, **settings.get(method, {"targets": ["fc1"]}))
    randomise(model)
    x, output = sample("mlp"), model(sample("mlp"))
    with adapters.context(model, centers=x):
        twin = pickle.loads(pickle.dumps(model))
    for again in (twin, copy.deepcopy(twin)):
        assert torch.equal(again(x), output)
        randomise(again, seed=8)
        changed = again(x)
        assert not torch.equal(changed, output) and torch.equal(model(x), output)
        with adapters.disabled(again):
            assert torch.equal(again(x), fresh("mlp")(x))
        assert torch.equal(again(x), changed)
    assert torch.equal(adapters.detach(twin)(x), fresh("mlp")(x))


@pytest.mark.parametrize(
    "start",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "pissa_niter_2"},
        {"kasa": True},
    ],
    ids=lambda start: str(next(iter(start.values()))),
)
def test_a_start_that_rewrites_the_base_is_refused(start):
    from peft import KasaConfig

    model, before = fresh("mlp"), fresh("mlp").state_dict()
    settings = {"kasa_config": KasaConfig()} if "kasa" in start else start
    with pytest.raises(InputError, match="the base's weights"):
        adapters.attach(model, "lora", targets=["fc1"], **settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert adapters.attached(model) == []


@pytest.mark.parametrize("method", ["lora", "ssf", "krona"])
@pytest.mark.parametrize("bias", ["all", "only"])
def test_biases_of_the_base_that_train_along_are_exchanged(method, bias, tmp_path):
    """peft's `bias=`: the bare base, a second adapter and a loaded one see what is theirs."""
    x, base = sample("mlp"), fresh("mlp")(sample("mlp"))
    settings = {"targets": ["fc1"], "bias": "all" if bias == "all" else f"{method}_only"}
    settings |= {"a1": 4, "a2": 4} if method == "krona" else {}
    model = adapters.attach(fresh("mlp"), method, **settings)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert "fc1.base_layer.bias" in trained and ("fc2.bias" in trained) == (bias == "all")
    randomise(model, scale=0.3)
    output = model(x)
    with adapters.disabled(model):
        assert torch.equal(model(x), base)
    assert torch.equal(model(x), output)
    adapters.attach(model, "miss", targets=["fc2"], r=4, name="second")
    assert torch.equal(model(x), base)  # a fresh second adapter starts on the clean base
    adapters.save(model, tmp_path / "a", name="default")  # while another one is on
    adapters.activate(model, "default")
    assert torch.equal(model(x), output)
    again = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [name.replace("fc2.base_layer", "fc2") for name in again]
    loaded = adapters.load(fresh("mlp"), tmp_path / "a")
    assert torch.equal(loaded(x), output)
    assert torch.equal(adapters.detach(loaded)(x), base)
    assert torch.equal(adapters.detach(model)(x), base)


def test_new_layers_take_the_mode_of_their_host(tmp_path):
    """Dropout of an adapter that is loaded onto a model in eval mode is off, as everything else of the model is."""
    for method, settings in (
        ("lora", {"lora_dropout": 0.5}),
        ("krona", {"a1": 4, "a2": 4, "dropout": 0.5}),
        ("parallel_adapter", {"dropout": 0.5}),
    ):
        model = adapters.attach(fresh("mlp").train(), method, targets=["fc1"], **settings)
        assert all(module.training for module in model.modules())
        randomise(model)
        adapters.save(model, tmp_path / method)
        loaded = adapters.load(fresh("mlp"), tmp_path / method)
        assert not any(module.training for module in loaded.modules())
        assert torch.equal(loaded(sample("mlp")), loaded(sample("mlp")))
    half = fresh("mlp").train()
    half.fc1.eval()
    model = adapters.attach(half, "lora", targets=["fc1", "fc2"], lora_dropout=0.5)
    assert model.fc2.lora_dropout["default"].training and not model.fc1.lora_dropout["default"].training
    wrapped = adapters.attach(nn.Sequential(fresh("mlp")).eval(), "vera", targets=["fc1", "fc2"], vera_dropout=0.5)
    assert not any(module.training for module in wrapped.modules())
