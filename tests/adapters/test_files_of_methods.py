"""What a method's file holds: shared parameters once, final ranks, nothing that only training needs."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from suite import adapters
from suite.errors import InputError
from tests.adapters import toys  # noqa: F401 - registers its methods
from tests.adapters.cases import fresh, randomise, sample


def rules(model: nn.Module) -> set[int]:
    return {
        id(p)
        for layer in model.modules()
        if hasattr(layer, "toy_compacter_rule")
        for p in layer.parameters()
        if p.dim() == 3 and p.shape[0] == p.shape[1] == p.shape[2]
    }


def test_what_layers_share_is_one_parameter_saved_once(tmp_path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = adapters.attach(fresh("mlp").to(dtype), "toy_compacter", targets=["fc1", "fc2"])
        assert len(rules(model)) == 1
    model = adapters.attach(fresh("mlp"), "toy_compacter", targets=["fc1", "fc2"])
    randomise(model)
    output = model(sample("mlp"))
    output.sum().backward()
    output = output.detach()
    adapters.save(model, tmp_path / "a")
    assert sum("rule" in key for key in load_file(tmp_path / "a/adapter_model.safetensors")) == 1
    loaded = adapters.load(fresh("mlp"), tmp_path / "a", trainable=True)
    assert torch.equal(loaded(sample("mlp")), output)
    assert len(rules(loaded)) == len(rules(copy.deepcopy(loaded))) == len(rules(copy.deepcopy(loaded).double())) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = PeftModel.from_pretrained(fresh("mlp"), str(tmp_path / "a"))
    assert torch.equal(plain(sample("mlp")), output)
    adapters.attach(model, "toy_compacter", targets=["fc1", "fc2"], name="two")
    assert len(rules(model)) == 2
    adapters.activate(model, "default")
    assert torch.equal(model(sample("mlp")), output)


def test_a_file_holds_the_final_rank_and_no_training_state(tmp_path) -> None:
    model = adapters.attach(fresh("mlp"), "toy_masked", targets=["fc1", "fc2"])
    randomise(model)
    layers = dict(adapters.layers(model, "toy_masked"))
    layers["fc1"].tensor("mask", "default")[1:] = 0
    layers["fc2"].tensor("mask", "default")[:1] = 0
    output = model(sample("mlp"))
    adapters.save(model, tmp_path / "a")
    state = load_file(tmp_path / "a/adapter_model.safetensors")
    assert {key.rpartition("toy_masked_")[2] for key in state} == {"a", "b"}
    assert state["base_model.model.fc1.toy_masked_a"].shape == (1, 16)
    assert state["base_model.model.fc2.toy_masked_a"].shape == (3, 32)
    assert layers["fc1"].tensor("a", "default").shape == (4, 16)  # training goes on with all ranks
    for loaded in (
        adapters.load(fresh("mlp"), tmp_path / "a"),
        PeftModel.from_pretrained(fresh("mlp"), str(tmp_path / "a")),
    ):
        torch.testing.assert_close(loaded(sample("mlp")), output)
    assert adapters.buffer_names(model) >= {"fc1.toy_masked_mask.default", "fc2.toy_masked_scores.default"}


def test_layers_are_those_of_a_method_or_an_adapter() -> None:
    model = adapters.attach(fresh("mlp"), "ssf", targets=["fc1"], name="one")
    adapters.attach(model, {"method": "lora", "targets": ["fc1"]}, {"method": "paca", "targets": ["fc2"]}, name="two")
    assert [name for name, _ in adapters.layers(model)] == ["fc1", "fc1.base_layer", "fc2.suite_paca"]
    assert [name for name, _ in adapters.layers(model, "lora")] == ["fc1"]
    assert [name for name, _ in adapters.layers(model, name="one")] == ["fc1.base_layer"]
    assert adapters.layers(model, "paca", "one") == []
    with pytest.raises(InputError, match="no adapter 'three'"):
        adapters.layers(model, name="three")


def test_experts_in_one_tensor_are_refused_with_what_reaches_them() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = nn.Parameter(torch.zeros(2, 8, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.gate_up_proj.sum(0)

    model = nn.ModuleDict({"experts": Experts()})
    for method in ("krona", "ssf"):
        with pytest.raises(InputError, match=r"experts: Experts keeps .* target_parameters"):
            adapters.attach(copy.deepcopy(model), method, targets=["experts"])


def test_an_embedding_is_a_weight_too() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 6, padding_idx=0)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.words(ids)

    torch.manual_seed(0)
    base, ids = Words(), torch.tensor([[0, 3, 6]])
    model = adapters.attach(copy.deepcopy(base), "toy_gain", targets=["words"])
    randomise(model)
    gain = model.words.tensor("g", "default").detach()
    torch.testing.assert_close(model(ids), base(ids) * gain)
    output = model(ids)
    adapters.merge(model)
    torch.testing.assert_close(model(ids), output)
    torch.testing.assert_close(model.words.base_layer.weight, base.words.weight * gain)
    with pytest.raises(InputError, match="Embedding cannot be adapted"):
        adapters.attach(copy.deepcopy(base), "krona", targets=["words"])
