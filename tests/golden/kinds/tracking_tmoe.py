"""TMoE against the authors' code: every form, alone and around linear layers, with gradients."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive import tmoe
from tests.golden.registry import Case, kind

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
PARTS = "qkv"


def _group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _model(name: str, layer: nn.Linear) -> nn.Module:
    return nn.Sequential().append(nn.ModuleDict({name: layer})).eval()


def _attached(layer: nn.Linear, settings: dict[str, Any], name: str, ours: dict[str, Tensor]) -> tuple[Any, nn.Module]:
    """A model of one layer called `name` with TMoE of these weights, and the layer around it."""
    forms = [form for form in ("shared_expert", "route_compression") if settings.get(form)]
    model = adapters.attach(
        _model(name, layer),
        "tmoe",
        targets=[name],
        r=settings["r"],
        alpha=settings["alpha"],
        num_experts=settings.get("expert_nums", 4),
        use_rslora=settings.get("rs_expert", False),
        form=forms[0] if forms else "default",
    )
    [(_, wrapped)] = adapters.layers(model, "tmoe")
    with torch.no_grad():
        for each, value in ours.items():
            wrapped.tensor(each, "default").copy_(value)
    return model, wrapped


def _check(model: Any, layer: Any, fresh: nn.Module, x: Tensor, wanted: Tensor) -> None:
    """As the authors' code in every shape of input, with and without gradients, and after saving and loading."""
    with TemporaryDirectory() as folder:
        adapters.save(model, Path(folder) / "adapter", base="tiny")
        again = adapters.load(fresh, Path(folder) / "adapter")
    [(_, loaded)] = adapters.layers(again, "tmoe")
    for each in (layer, loaded):
        for given, expected in (
            (x, wanted),
            (x[0], wanted[0]),
            (x[:, :, None], wanted[:, :, None]),
            (x[0, 0], wanted[0, 0]),
        ):
            torch.testing.assert_close(each(given), expected, **TOLERANCE)
            with torch.inference_mode():
                torch.testing.assert_close(each(given), expected, **TOLERANCE)


def _linear(weights: dict[str, Tensor]) -> nn.Linear:
    layer = nn.Linear(weights["weight"].shape[1], weights["weight"].shape[0])
    layer.load_state_dict(weights)
    return layer


def _check_branch(tensors: dict[str, Tensor], name: str, settings: dict[str, Any]) -> None:
    """The branch alone: beside a layer that is zero."""
    size = settings["out_dim"], settings["in_dim"]
    zero = {"weight": torch.zeros(size), "bias": torch.zeros(size[0])}
    ours = tmoe.from_official(_group(tensors, f"weights/{name}."))
    model, layer = _attached(_linear(zero), settings, "fc", ours)
    _check(model, layer, _model("fc", _linear(zero)), tensors["input/x"], tensors[f"output/{name}"])
    gates = layer.gates(tensors["input/x"], "default")[..., 0, :]
    torch.testing.assert_close(gates, tensors[f"output/{name}.route_weight"], **TOLERANCE)
    back = tmoe.to_official({each: layer.tensor(each, "default") for each in ours})
    official = _group(tensors, f"weights/{name}.")
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in official.items()}
    assert all(torch.equal(value, official[key]) for key, value in back.items())


@kind("tracking/tmoe_layers")
def tmoe_layers(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    for name, settings in config.items():
        if name not in ("linear", "qkv"):
            _check_branch(tensors, name, settings)
    weights = _group(tensors, "weights/linear.linear.")
    ours = tmoe.from_official(_group(tensors, "weights/linear.tmoe."))
    model, layer = _attached(_linear(weights), config["linear"], "fc", ours)
    _check(model, layer, _model("fc", _linear(weights)), tensors["input/x"], tensors["output/linear"])
    _check_qkv(tensors, config["qkv"])


def _check_qkv(tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """One fused layer with three branches, and its gradients."""
    each = [_group(tensors, f"weights/qkv.{part}.linear.") for part in PARTS]
    fused = {name: torch.cat([weights[name] for weights in each]) for name in ("weight", "bias")}
    branches = [tmoe.from_official(_group(tensors, f"weights/qkv.{part}.tmoe.")) for part in PARTS]
    ours = {name: torch.cat([branch[name] for branch in branches]) for name in branches[0]}
    model, layer = _attached(_linear(fused), settings, "qkv", ours)
    x = tensors["input/x"]
    _check(model, layer, _model("qkv", _linear(fused)), x, tensors["output/qkv"])
    (layer(x) * tensors["input/qkv_cotangent"]).sum().backward()
    gradients = {name: layer.tensor(name, "default").grad for name in ours}
    for number, part in enumerate(PARTS):
        for name, gradient in tmoe.to_official(gradients, number).items():
            torch.testing.assert_close(gradient, tensors[f"output/qkv_grad.{part}.tmoe.{name}"], **TOLERANCE)
