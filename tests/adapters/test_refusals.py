"""What cannot be done is said before anything is changed, in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.nf4 import quantize_model
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


@pytest.mark.parametrize("name", ["keys", "pop", "update", "training"])
def test_an_adapter_named_as_a_method_of_torchs_containers(name):
    with pytest.raises(InputError, match=f"adapter name '{name}' means something"):
        adapters.attach(fresh("mlp"), "lora", targets=["fc1"], name=name)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("lora", {"targets": ["fc1"], "target_parameters": ["fc2.weigth"]}, "target 'fc2.weigth' is no parameter"),
        ("lora", {"targets": ["fc1"], "modules_to_save": ["haed"]}, "modules_to_save.*no modules"),
        ("boft", {"targets": ["attn"]}, "a target is a MultiheadAttention"),
    ],
)
def test_targets_that_fit_nothing(method, settings, message):
    model = nn.ModuleDict({"fc1": nn.Linear(8, 8), "fc2": nn.Linear(8, 8), "attn": nn.MultiheadAttention(8, 2)})
    with pytest.raises(InputError, match=message) as caught:
        adapters.attach(model, method, **settings)
    assert "\n" not in str(caught.value) and adapters.attached(model) == []


@pytest.mark.parametrize("method", ["lora", "ssf"])
def test_no_targets_on_a_model_whose_config_is_its_own(method):
    model = fresh("mlp")
    model.config = {"width": 8}
    with pytest.raises(InputError, match=f"{method}: no layers of a .* name them"):
        adapters.attach(model, method)
    assert adapters.attached(model) == []


def test_a_prompt_method_that_is_not_told_its_task(llama):
    with pytest.raises(InputError, match=r"prompt_tuning: task_type=None is none of .*CAUSAL_LM"):
        adapters.attach(llama(), "prompt_tuning", num_virtual_tokens=3)


def test_checkpointing_of_a_block_that_is_not_there():
    model = adapters.attach(fresh("vit"), "lora", targets=["fc1"])
    with pytest.raises(InputError, match=r"block 'blocks\.7' is no module.*did you mean 'blocks\.\d'"):
        adapters.enable_checkpointing(model, ["blocks.0", "blocks.7"])
    assert "forward" not in vars(model.blocks[0])


def test_checkpointing_of_a_method_in_the_cache(llama):
    model = adapters.attach(llama(), "prefix_tuning", num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(InputError, match="prefix_tuning works through the key-value cache"):
        adapters.enable_checkpointing(model)


def test_quantizing_a_model_that_carries_an_adapter():
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"])
    with pytest.raises(InputError, match="quantize it before attaching"):
        quantize_model(model, backend="torch")
    assert all(type(module) is nn.Linear for module in model.fc1.lora_A.values())


def test_attaching_over_a_merged_adapter():
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], name="a")
    adapters.merge(model)
    with pytest.raises(InputError, match="unmerge before attaching"):
        adapters.attach(model, "ssf", targets=["fc2"], name="b")
    assert adapters.attached(model) == ["a"]


def test_two_active_adapters_that_own_one_module():
    x = sample("mlp")
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], modules_to_save=["fc2"], name="a")
    model = adapters.attach(model, "lora", targets=["fc1"], modules_to_save=["fc2"], name="b")
    randomise(model)
    output = model(x)
    with pytest.raises(InputError, match=r"fc2 is owned by \['a', 'b'\]"):
        adapters.activate(model, "a", "b", trainable=False)
    assert adapters.active(model) == ["b"] and torch.equal(model(x), output)
    assert adapters.count(model).trainable > 0


def test_a_refused_switch_changes_nothing():
    x = sample("mlp")
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=10, name="one")
    model = adapters.attach(model, "paca", targets=["fc1"], r=10, name="two")
    randomise(model)
    output = model(x)
    with pytest.raises(InputError, match="select the same entries"):
        adapters.activate(model, "one", "two")
    assert adapters.active(model) == ["two"] and torch.equal(model(x), output)


def test_train_names_the_bases_parameters_whatever_is_around_them(tmp_path):
    x = sample("mlp")
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], name="one")
    with pytest.raises(InputError, match="matches nothing"):
        adapters.attach(model, train=["fc1.base_layer.weight"], name="two")
    model = adapters.attach(model, train=["fc1.weight", "fc2.bias"], name="two")
    randomise(model)
    output = model(x)
    adapters.save(model, tmp_path / "two")
    assert torch.equal(adapters.load(fresh("mlp"), tmp_path / "two")(x), output)
