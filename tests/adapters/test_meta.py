"""Models without storage: what is loaded is there, and what storage is given later computes the same."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from suite import adapters
from tests.adapters.cases import randomise

METHODS = [("lora", {}), ("svdiff", {}), ("krona", {"a1": 2, "a2": 2}), ("paca", {"r": 2}), ("ssf", {})]


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))


def empty() -> nn.Module:
    with torch.device("meta"):
        return base()


@pytest.mark.parametrize(("method", "settings"), METHODS)
def test_an_adapter_loaded_onto_a_base_without_storage_has_its_values(method, settings, tmp_path):
    model = adapters.attach(base(), method, targets=["0"], **settings)
    randomise(model)
    adapters.save(model, tmp_path / "a")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cannot be checked")
        loaded = adapters.load(empty(), tmp_path / "a")
    adapters.save(loaded, tmp_path / "again")
    saved, again = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "again"))
    assert saved.keys() == again.keys() and all(torch.equal(again[key], saved[key]) for key in saved)
    assert adapters.count(loaded).trainable == 0
    filled = adapters.materialise(loaded, "cpu")
    inside = "0.base_layer." if "0.base_layer.weight" in filled.state_dict() else "0."
    state = {key.replace("0.", inside): value for key, value in base().state_dict().items()}
    unexpected = filled.load_state_dict(state, strict=False).unexpected_keys
    assert not unexpected
    x = torch.randn(2, 8)
    torch.testing.assert_close(filled(x), model(x))
    with adapters.disabled(filled):
        assert torch.equal(filled(x), base()(x))


@pytest.mark.parametrize(("method", "settings"), METHODS)
def test_a_materialised_model_computes_as_the_one_whose_state_it_loads(method, settings):
    model = adapters.attach(base(), method, targets=["0"], **settings)
    randomise(model)
    filled = adapters.materialise(adapters.attach(empty(), method, targets=["0"], **settings), "cpu")
    filled.load_state_dict(model.state_dict())
    x = torch.randn(2, 8)
    torch.testing.assert_close(filled(x), model(x))
    randomise(filled, seed=9)
    assert not torch.equal(filled(x), model(x))


def test_materialising_keeps_what_has_values():
    model = adapters.attach(base(), "lora", targets=["0"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters.materialise(model, "cpu")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
