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
