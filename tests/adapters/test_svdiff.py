"""SVDiff is its equation: the spectrum shifts, never below zero, the singular vectors stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from suite import adapters


def shifted_weight(weight: torch.Tensor, shift: torch.Tensor, scaling: float) -> torch.Tensor:
    """Equation of section 3.2, written out."""
    u, sigma, vh = torch.linalg.svd(weight.reshape(weight.shape[0], -1), full_matrices=False)
    return (u @ torch.diag((sigma + scaling * shift).clamp(min=0)) @ vh).reshape(weight.shape)


@pytest.mark.parametrize("scaling", [1.0, 0.5])
@pytest.mark.parametrize(
    "layer", [nn.Linear(12, 7), nn.Linear(7, 12, bias=False), nn.Conv2d(3, 20, 3, padding=1)], ids=repr
)
def test_output_is_that_of_the_shifted_spectrum(layer: nn.Module, scaling: float) -> None:
    torch.manual_seed(0)
    weight = layer.weight.detach().clone()
    model = adapters.attach(nn.Sequential(layer), "svdiff", targets=["0"], scaling=scaling)
    rank = min(weight.shape[0], weight[0].numel())
    assert adapters.count(model).trainable == rank
    shift = torch.randn(rank)  # large enough to push singular values below zero
    with torch.no_grad():
        model[0].tensor("shift", "default").copy_(shift)
    expected = shifted_weight(weight, shift, scaling)
    x = torch.randn(2, 3, 5, 5) if weight.dim() == 4 else torch.randn(4, weight.shape[1])
    bias = model[0].get_base_layer().bias
    y = functional.conv2d(x, expected, bias, padding=1) if weight.dim() == 4 else functional.linear(x, expected, bias)
    torch.testing.assert_close(model(x), y, atol=1e-5, rtol=1e-5)
    adapters.merge(model)
    torch.testing.assert_close(model[0].get_base_layer().weight, expected, atol=1e-5, rtol=1e-5)


def test_a_value_below_zero_gets_no_gradient() -> None:
    model = adapters.attach(nn.Sequential(nn.Linear(6, 6)), "svdiff", targets=["0"])
    shift = model[0].tensor("shift", "default")
    with torch.no_grad():
        shift[-1] = -10.0
    model(torch.randn(8, 6)).square().sum().backward()
    assert shift.grad[-1] == 0
    assert shift.grad[:-1].abs().min() > 0


def test_the_saved_adapter_holds_the_shifts_alone(tmp_path: Path) -> None:
    model = adapters.attach(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), "svdiff", targets=["0", "1"])
    adapters.save(model, tmp_path / "a")
    saved = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {key: tensor.numel() for key, tensor in saved.items()} == {
        "base_model.model.0.svdiff_shift": 8,
        "base_model.model.1.svdiff_shift": 4,
    }


class Convolutions(TorchDispatchMode):
    """Counts convolutions."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["svdiff", "loldu", "svfit"])
def test_training_makes_one_product_where_a_prediction_makes_two(method: str) -> None:
    """Equal to rounding, gradients too; in other dtypes, and over other adapters, nothing changes."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(24, 5)).requires_grad_(False)
    settings = {"targets": ["0", "2"]} if method == "svdiff" else {"targets": ["0"], "r": 3}
    model = adapters.attach(base, method, init_weights=False, **settings)
    x, found = torch.randn(2, 4, 4, 4), []
    for training in (True, False):
        model.train(training)
        with Convolutions() as counter:
            y = model(x)
        y.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        model.zero_grad()
        found.append((counter.count, y, gradients))
    (fewer, *one), (more, *two) = found
    assert (fewer, more) == (1, 2)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
