"""Music against the authors' code: the published adapters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive.attention_adapter import published_bottleneck
from suite.adapters.methods.additive.linear_adapter import official_tensors
from suite.adapters.methods.additive.sequences import Point
from tests.golden.registry import Case, kind

TOLERANCE = dict(atol=1e-5, rtol=0.0)


@kind("music/adapters")
def published(case: Case) -> None:
    tensors = case.tensors()
    for name, sizes in case.config.items():
        weights = {
            key.removeprefix(f"weights/{name}/"): v for key, v in tensors.items() if key.startswith(f"weights/{name}/")
        }
        outputs = [key for key in tensors if key.startswith(f"output/{name}")]
        assert outputs
        for key in outputs:
            with torch.no_grad():
                given = _RUNNERS[name.partition("_")[0]](tensors[f"input/{name}"], weights, sizes, key)
            torch.testing.assert_close(given, tensors[key], **TOLERANCE)


def _point(width: int, axis: int, settings: dict, weights: dict[str, Tensor]) -> nn.Module:
    model: nn.Module = nn.ModuleDict({"point": Point(width, axis)})
    model = adapters.attach(model, "linear_adapter", targets=["point"], **settings)
    [(_, layer)] = adapters.layers(model, "linear_adapter")
    layer.tensor("branch", "default").load_state_dict(official_tensors(weights))
    return model.eval()["point"]


def _conv(x: Tensor, weights: dict[str, Tensor], sizes: dict, _key: str) -> Tensor:
    settings = {"bottleneck_size": sizes["bottleneck"], "blocks": sizes["blocks"], "norm": "layer"}
    return _point(sizes["channels"], 1, settings, weights)(x)


def _wave(x: Tensor, weights: dict[str, Tensor], sizes: dict, key: str) -> Tensor:
    activation = "relu" if "relu" in key else "gelu"  # the authors train with the one and generate with the other
    settings = {"bottleneck_size": sizes["bottleneck"], "non_linearity": activation}
    return _point(sizes["seq_len"], -1, settings, weights)(x)


def _lora(x: Tensor, weights: dict[str, Tensor], sizes: dict, _key: str) -> Tensor:
    down, up = weights["down_proj.weight"], weights["up_proj.weight"]
    model = nn.ModuleDict({"layer": nn.Linear(down.shape[1], up.shape[0], bias=False)})
    nn.init.zeros_(model["layer"].weight)
    model = adapters.attach(model, "lora", targets=["layer"], r=sizes["r"], lora_alpha=sizes["alpha"]).eval()
    with torch.no_grad():
        model["layer"].lora_A["default"].weight.copy_(down)
        model["layer"].lora_B["default"].weight.copy_(up)
    return model["layer"](x)


def _attn(x: Tensor, weights: dict[str, Tensor], sizes: dict, _key: str) -> Tensor:
    return published_bottleneck(x, weights, sizes["heads"])


_RUNNERS = {"conv": _conv, "wave": _wave, "lora": _lora, "attn": _attn}
