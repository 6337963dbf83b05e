"""LoRA over the layers of one fused projection: the equation, what is shared, what a file holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from suite import adapters

WIDTH, RANK = 6, 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def attached(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    settings = {"targets": ["q_proj", "k_proj", "v_proj"], "r": RANK, "init_weights": False, **settings}
    return adapters.attach(Two().eval(), "tied_lora", **settings)


@pytest.mark.parametrize("training", [False, True])
def test_the_parts_of_a_projection_are_one_lora(training: bool) -> None:
    """q, k, v are x W^T + b + (x A^T) B^T of the fused projection, with its gradients."""
    model = attached().train(training)
    x = torch.randn(3, 4, WIDTH)
    layers = [model.first.q_proj, model.first.k_proj, model.first.v_proj]
    a, b = (layers[0].tensor(name, "default") for name in ("A", "B"))
    weight = torch.cat([layer.base_layer.weight for layer in layers])
    bias = torch.cat([layer.base_layer.bias for layer in layers])
    own_a, own_b = (tensor.detach().clone().requires_grad_() for tensor in (a, b))
    expected = x @ weight.T + bias + (x @ own_a.T) @ own_b.T
    found = model.first(x)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(a.grad, own_a.grad)
    torch.testing.assert_close(b.grad, own_b.grad)


def test_an_attention_has_one_a_and_one_b_and_they_are_saved_once(tmp_path: Path) -> None:
    model = attached()
    per_attention = RANK * WIDTH + 3 * WIDTH * RANK
    assert adapters.count(model).trainable == 2 * per_attention
    assert model.first.k_proj.tensor("A", "default") is model.first.v_proj.tensor("A", "default")
    assert model.first.k_proj.tensor("B", "default") is not model.second.k_proj.tensor("B", "default")
    adapters.save(model, tmp_path / "adapter")
    assert len(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == 4
    torch.manual_seed(0)
    again = adapters.load(Two().eval(), tmp_path / "adapter")
    x = torch.randn(2, WIDTH)
    assert torch.equal(again(x), model(x))
    assert again.second.q_proj.tensor("B", "default") is again.second.v_proj.tensor("B", "default")


def test_a_layer_that_is_no_part_has_a_lora_of_its_own() -> None:
    model = attached(targets=["q_proj", "out_proj"], parts=["q_proj"])
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters() if "tied_lora_B" in name}
    assert set(sizes.values()) == {(WIDTH, RANK)}
    assert len(sizes) == 4


def test_merging_is_the_same_function() -> None:
    model = attached()
    x = torch.randn(2, WIDTH)
    before = model(x)
    adapters.merge(model)
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)
