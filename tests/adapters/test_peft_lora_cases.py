"""What peft promises of LoRA, over fused layers: the behaviours that its own tests exercise, on small models.

Each configuration acts, merges, unmerges, is disabled, saved, loaded and unloaded; and one with several adapters is
switched, combined, mixed within a batch and deleted. References are peft's own layers with the same numbers.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners import lora
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from suite.adapters.fused.fusing import fuse
from suite.adapters.fused.lora import FusedForward

pytestmark = pytest.mark.usefixtures("quiet_and_seeded")


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin0, self.lin1 = nn.Linear(10, 20), nn.Linear(20, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin1(torch.relu(self.lin0(x)))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.conv1d, self.lin0 = nn.Embedding(30, 10), Conv1D(20, 10), nn.Linear(20, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin0(torch.tanh(self.conv1d(self.emb(x))))


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2d, self.lin0 = nn.Conv2d(3, 10, 3), nn.Linear(10, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin0(torch.relu(self.conv2d(x)).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mha, self.lin0 = nn.MultiheadAttention(10, 2, batch_first=True), nn.Linear(10, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin0(self.mha(x, x, x)[0])


class Experts(nn.Module):
    """A parameter that no layer holds, which peft reaches as a `target_parameters`."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 20)
        self.weight = nn.Parameter(torch.randn(12, 20))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.relu(self.lin0(x)), self.weight)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = Experts()

    def forward(self, x: Tensor) -> Tensor:
        return self.experts(x)


INPUTS = {
    Mlp: lambda: torch.randn(9, 10),
    Embedded: lambda: torch.arange(18).reshape(9, 2),
    Convolution: lambda: torch.randn(9, 3, 5, 5),
    Attention: lambda: torch.randn(9, 4, 10),
    Around: lambda: torch.randn(9, 10),
}
# (model, settings, how many of its layers are fused)
CASES: dict[str, tuple[type[nn.Module], dict[str, Any], int]] = {
    "one layer": (Mlp, {"target_modules": "lin0"}, 1),
    "a list": (Mlp, {"target_modules": ["lin0"]}, 1),
    "two layers": (Mlp, {"target_modules": ["lin0", "lin1"]}, 2),
    "a pattern": (Mlp, {"target_modules": r".*lin\d"}, 2),
    "all linear": (Mlp, {"target_modules": "all-linear"}, 2),
    "excluded": (Mlp, {"target_modules": ["lin0", "lin1"], "exclude_modules": ["lin1"]}, 1),
    "alpha": (Mlp, {"target_modules": ["lin0"], "lora_alpha": 32}, 1),
    "saved module": (Mlp, {"target_modules": ["lin0"], "modules_to_save": ["lin1"]}, 1),
    "rank pattern": (Mlp, {"target_modules": ["lin0", "lin1"], "rank_pattern": {"lin0": 5}}, 2),
    "alpha pattern": (Mlp, {"target_modules": ["lin0", "lin1"], "alpha_pattern": {"lin1": 1}}, 2),
    "rslora": (Mlp, {"target_modules": ["lin0"], "use_rslora": True}, 1),
    "dora": (Mlp, {"target_modules": ["lin0"], "use_dora": True}, 1),
    "own bias": (Mlp, {"target_modules": ["lin0"], "lora_bias": True}, 1),
    "dropout": (Mlp, {"target_modules": ["lin0"], "lora_dropout": 0.5}, 1),
    "gaussian": (Mlp, {"target_modules": ["lin0"], "init_lora_weights": "gaussian"}, 1),
    "base biases": (Mlp, {"target_modules": ["lin0"], "bias": "all"}, 1),
    "embedding": (Embedded, {"target_modules": ["emb"]}, 0),
    "embedding and Conv1D": (Embedded, {"target_modules": ["emb", "conv1d"]}, 1),
    "Conv1D": (Embedded, {"target_modules": ["conv1d", "lin0"]}, 2),
    "Conv2d": (Convolution, {"target_modules": ["conv2d"]}, 0),
    "Conv2d and linear": (Convolution, {"target_modules": ["conv2d", "lin0"]}, 1),
    "attention": (Attention, {"target_modules": ["mha", "lin0"]}, 2),
    "target parameters": (Around, {"target_modules": [], "target_parameters": ["experts.weight"]}, 0),
    "both": (Around, {"target_modules": ["lin0"], "target_parameters": ["experts.weight"]}, 1),
}


def randomise(model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))


def plain(model: nn.Module) -> nn.Module:
    """A copy with peft's own forward everywhere."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, FusedForward):
            layer.__class__ = lora.Linear
    return model


def settle(model: nn.Module) -> nn.Module:
    """In training mode, in which the product acts on the CPU, but without dropout."""
    for layer in model.train().modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    return model


def build(case: str, **more: Any) -> tuple[PeftModel, Tensor]:
    base, settings, _ = CASES[case]
    model = get_peft_model(base(), LoraConfig(r=4, **{**settings, **more}))
    fuse(model)
    randomise(model)
    return settle(model), INPUTS[base]()


def close(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_acts_merges_and_leaves_as_in_peft(case: str, tmp_path: Path) -> None:
    model, x = build(case)
    assert sum(isinstance(layer, FusedForward) for layer in model.modules()) == CASES[case][2]
    with torch.no_grad():
        adapted = model(x)
        assert close(adapted, plain(model)(x))
        with model.disable_adapter():
            base = model(x)
        assert close(model(x), adapted, 0)
        if "saved module" not in case:
            assert not close(base, adapted, 1e-3)

        model.save_pretrained(tmp_path)
        torch.manual_seed(0)
        loaded = PeftModel.from_pretrained(CASES[case][0](), tmp_path)
        fuse(settle(loaded))
        assert torch.equal(loaded(x), adapted)

        model.merge_adapter(safe_merge=True)
        assert close(model(x), adapted)
        model.unmerge_adapter()
        assert close(model(x), adapted)
        merged = copy.deepcopy(model).merge_and_unload()
        assert close(merged(x), adapted)
        if case != "both":  # peft itself leaves a layer inside a module whose parameter is a target
            assert not any(isinstance(layer, lora.LoraLayer) for layer in merged.modules())
        if case not in ("base biases", "target parameters", "both"):
            assert close(model.unload()(x), base)


@pytest.mark.parametrize("case", [case for case in CASES if case != "attention"])
def test_trains_as_in_peft(case: str) -> None:
    model, x = build(case)
    gradients: list[dict[str, Tensor]] = []
    for each in (model, plain(model)):
        each(x).square().sum().backward()
        gradients.append({name: p.grad for name, p in each.named_parameters() if p.grad is not None})
        assert {name for name, p in each.named_parameters() if p.requires_grad} == set(gradients[-1])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert close(gradient, gradients[1][name], 1e-4)


def second(model: PeftModel, case: str, **more: Any) -> None:
    model.add_adapter("other", LoraConfig(r=3, **{**CASES[case][1], **more}))
    fuse(model)
    randomise(model)
    settle(model)


@pytest.mark.parametrize("case", ["two layers", "Conv1D", "embedding and Conv1D", "Conv2d and linear"])
def test_several_adapters_switch_mix_and_go(case: str) -> None:
    model, x = build(case)
    second(model, case)
    with torch.no_grad():
        outputs = {}
        for name in ("default", "other"):
            model.set_adapter(name)
            outputs[name] = model(x)
            assert close(outputs[name], plain(model)(x))
        with model.disable_adapter():
            outputs["__base__"] = model(x)
        assert not close(outputs["default"], outputs["other"], 1e-3)
        rows = ["default", "other", "__base__"] * 3
        mixed = model.eval()(x, adapter_names=rows)
        settle(model)
        expected = torch.stack([outputs[name][row] for row, name in enumerate(rows)])
        assert close(mixed, expected)

        model.base_model.set_adapter(["default", "other"])
        both = model(x)
        assert close(both, plain(model)(x))
        model.merge_adapter()
        assert close(model(x), both)
        model.unmerge_adapter()

        model.set_adapter("default")
        model.delete_adapter("other")
        assert close(model(x), outputs["default"])


@pytest.mark.parametrize("way", ["linear", "cat", "svd", "ties", "dare_linear"])
def test_weighted_adapters(way: str) -> None:
    model, x = build("two layers")
    model.add_adapter("other", LoraConfig(r=4, target_modules=["lin0", "lin1"]))
    fuse(model)
    randomise(model)
    density = {"density": 0.5} if way in ("ties", "dare_linear") else {}
    model.add_weighted_adapter(["default", "other"], [0.3, 0.7], "mean", combination_type=way, **density)
    model.set_adapter("mean")
    with torch.no_grad():
        assert close(model(x), plain(model)(x))
        if way == "cat":  # exact: the sum of both changes, weighted
            linear, base = model.base_model.model.lin0, model.base_model.model.lin0.base_layer
            change = 0.3 * linear.get_delta_weight("default") + 0.7 * linear.get_delta_weight("other")
            assert close(linear(x), nn.functional.linear(x, base.weight + change, base.bias))


def test_layers_of_blocks_and_repeated_calls() -> None:
    """`layers_to_transform` picks blocks; a layer that is called twice in a forward sums both gradients."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.ModuleDict({"lin": nn.Linear(10, 10)}) for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer["lin"](layer["lin"](x)))
            return x

    settings = {"target_modules": ["lin"], "layers_to_transform": [1], "layers_pattern": "layers"}
    model = get_peft_model(Deep(), LoraConfig(r=2, **settings))
    fuse(model)
    randomise(model)
    assert sum(isinstance(layer, FusedForward) for layer in model.modules()) == 1
    x, gradients = torch.randn(5, 10), []
    for each in (model, plain(model)):
        each(x).square().sum().backward()
        gradients.append([parameter.grad for parameter in each.parameters() if parameter.requires_grad])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_broken_adapters_are_found_by_a_safe_merge() -> None:
    model, _ = build("one layer")
    with torch.no_grad():
        model.base_model.model.lin0.lora_A["default"].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaNs detected"):
        model.merge_adapter(safe_merge=True)
