"""Choices that methods make from data before they are attached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


def loss(model: nn.Module, x: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), torch.arange(len(x)) % 4)


def batches(subject: str = "mlp") -> list[Tensor]:
    return [sample(subject), 2 * sample(subject)]


@pytest.mark.parametrize(
    ("method", "options"),
    [("neuroada", {"k": 2}), ("sift", {"rate": 0.05}), ("paca", {"r": 2})],
)
def test_what_was_planned_is_attached_and_its_file_needs_no_plan(method: str, options: dict, tmp_path: Path) -> None:
    model = fresh("mlp")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = adapters.plan(method, model, batches(), loss=loss, targets=["fc1", "fc2"], **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    adapters.attach(model, method, **settings)
    for _, layer in adapters.layers(model):
        planned = settings.get("places", settings.get("columns"))[layer.target]
        assert layer.places("default").tolist() == torch.as_tensor(planned).tolist()
    randomise(model)
    adapters.save(model, tmp_path / "a")
    assert "places" not in json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert torch.equal(adapters.load(fresh("mlp"), tmp_path / "a")(sample("mlp")), model(sample("mlp")))


@pytest.mark.parametrize("module", ["lora", "parallel_adapter"])
def test_spt_spends_its_budget_on_modules_vectors_and_numbers(module: str, tmp_path: Path) -> None:
    model = fresh("vit")
    total = adapters.count(model).total
    found = adapters.plan("spt", model, batches("vit"), loss=loss, budget="10%", module=module, r=2, skip=["head"])
    assert {spec["method"] for spec in found["methods"]} == {module, "spt"}
    assert found["train"] and not any(name.startswith("head") for name in found["train"])
    adapters.attach(model, *found["methods"], train=["head", *found["train"]])
    spent = adapters.count(model).trainable - sum(p.numel() for p in fresh("vit").head.parameters())
    assert abs(spent - total / 10) < total / 20
    randomise(model)
    x, output = sample("vit"), model.eval()(sample("vit"))
    adapters.save(model, tmp_path / "a")
    assert torch.equal(adapters.load(fresh("vit"), tmp_path / "a").eval()(x), output)


def test_planning_says_what_went_wrong() -> None:
    with pytest.raises(InputError, match="planning: there are no batches"):
        adapters.plan("spt", fresh("mlp"), [], loss=loss)
    with pytest.raises(InputError, match=r"planning: the gradient of fc1\.weight is not finite in batch 1"):
        bad = torch.full_like(sample("mlp"), torch.nan)
        adapters.plan("sift", fresh("mlp"), [sample("mlp"), bad], loss=loss, targets=["fc1"])
    with pytest.raises(InputError, match=r"spt: .*fc1: spt trains numbers of plain weights that `plan` found"):
        adapters.attach(fresh("mlp"), "spt", targets=["fc1"])


@pytest.mark.parametrize(("method", "options"), [("sift", {"rate": 0.1}), ("neuroada", {"k": 3})])
def test_entries_train_as_a_dense_optimiser_with_a_mask_would_train_them(method: str, options: dict) -> None:
    """The same steps of AdamW, whose state here is of the entries' number."""
    sparse, dense, x = fresh("mlp"), fresh("mlp"), sample("mlp")
    settings = adapters.plan(method, sparse, [x], loss=loss, targets=["fc1", "fc2"], **options)
    adapters.attach(sparse, method, **settings)
    masks: dict[str, Tensor] = {}
    for _, layer in adapters.layers(sparse):
        for name, index, _ in layer.parts(layer.places("default")):
            mask = torch.zeros_like(dense.get_submodule(layer.target).get_parameter(name))
            mask[index] = 1.0
            masks[f"{layer.target}.{name}"] = mask
    few = torch.optim.AdamW([p for p in sparse.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0)
    all_ = torch.optim.AdamW([dense.get_parameter(name) for name in masks], lr=0.01, weight_decay=0.0)
    for _ in range(4):
        few.zero_grad(), all_.zero_grad()
        loss(sparse, x).backward()
        loss(dense, x).backward()
        for name, mask in masks.items():
            dense.get_parameter(name).grad.mul_(mask)  # type: ignore[union-attr]
        few.step(), all_.step()
    adapters.refresh(sparse)
    for name in masks:
        torch.testing.assert_close(sparse.get_parameter(name), dense.get_parameter(name), atol=1e-6, rtol=1e-6)
    assert sum(p.numel() for p in few.param_groups[0]["params"]) == sum(int(mask.sum()) for mask in masks.values())


def test_more_connections_than_a_neuron_has_are_all_it_has() -> None:
    with pytest.warns(UserWarning, match="fc1: k=99, and a neuron has 16 inputs: all train"):
        model = adapters.attach(fresh("mlp"), "neuroada", targets=["fc1"], k=99)
    assert adapters.count(model).trainable == 32 * 16
