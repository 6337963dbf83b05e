"""Branches beside and behind modules, or between parts of a block: what is read, and where it is added."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


class Residual(nn.Module):
    """A block of a ResNet: three convolutions, each with norm and activation."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, stride, 1), nn.Conv2d(6, 4, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))))


def test_a_conv_adapter_joins_behind_norm_and_activation() -> None:
    torch.manual_seed(0)
    model, x = nn.ModuleDict({"block": Residual()}).eval(), torch.randn(2, 4, 9, 9)
    block = model["block"]
    bare = copy.deepcopy(block)
    adapters.attach(model, "convnet_adapter", targets=["block"], reads="conv2", adds_before="conv3", adapt_size=3)
    branch = block.suite_convnet_adapter
    first = torch.relu(bare.bn1(bare.conv1(x)))
    depth, depth_b, point, point_b, factors = (branch.tensor(name, "default") for name in branch.parameter_names)
    added = functional.conv2d(torch.relu(functional.conv2d(first, depth, depth_b, 2, 1, groups=2)), point, point_b)
    expected = bare.conv3(torch.relu(bare.bn2(bare.conv2(first))) + added * factors[:, None, None])
    torch.testing.assert_close(block(x), expected)
    with adapters.rows(model, ["default", None]):
        mixed = block(x)
    torch.testing.assert_close(mixed[0], expected[0])
    with adapters.disabled(model):
        torch.testing.assert_close(mixed[1], block(x)[1])


def test_adaptformer_reads_what_the_norm_reads() -> None:
    model, x, bare = fresh("vit"), sample("vit"), fresh("vit").blocks[0]
    adapters.attach(model, "adaptformer", targets=["blocks.0"], bottleneck_size=3)
    randomise(model, scale=0.3)
    block, tokens = model.blocks[0], torch.randn(2, 5, 32)
    layer = block.suite_adaptformer
    h = tokens + bare.attn(bare.norm1(tokens))
    hidden = torch.relu(functional.linear(h, layer.tensor("down", "default"), layer.tensor("down_b", "default")))
    added = 0.1 * functional.linear(hidden, layer.tensor("up", "default"), layer.tensor("up_b", "default"))
    torch.testing.assert_close(block(tokens), h + bare.mlp(bare.norm2(h)) + added, atol=1e-5, rtol=1e-5)
    assert model(x).shape == (2, 5)
    assert not vars(layer.scratch)


@pytest.mark.parametrize(
    ("composition", "scaling", "expected"),
    [("add", 4.0, 1.0), ("scaled", 4.0, 4.0), ("scaled", "learned", 1.0), ("gated", 4.0, None)],
)
def test_the_unified_view_composes_as_its_table_says(
    composition: str, scaling: float | str, expected: float | None
) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 5)), torch.randn(2, 6)
    plain = model(x)
    settings = {"composition": composition, "scaling": scaling, "form": "linear", "bottleneck_size": 3}
    adapters.attach(model, "unified_adapter", targets=["0"], init="bert", **settings)
    layer = model[0].suite_unified_adapter
    own = x @ layer.tensor("down", "default").T @ layer.tensor("up", "default").T
    if expected is not None:
        torch.testing.assert_close(model(x), plain + expected * own)
        return
    torch.testing.assert_close(model(x), plain)
    with torch.no_grad():
        layer.tensor("factor", "default").fill_(0.25)
    torch.testing.assert_close(model(x), 0.75 * plain + 0.25 * own)


def test_compacters_share_their_rules_and_save_them_once(tmp_path: Path) -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 16))

    shared = adapters.attach(model(), "compacter", targets=["0", "1"], reduction=2, n=2)
    layers = [layer for _, layer in adapters.layers(shared)]
    assert layers[0].tensor("rule", "default") is layers[1].tensor("rule", "default")
    adapters.save(shared, tmp_path / "a")
    assert sum("rule" in key for key in load_file(tmp_path / "a/adapter_model.safetensors")) == 1
    own = adapters.attach(model(), "compacter", targets=["0", "1"], reduction=2, n=2, shared_rule=False)
    assert adapters.count(own).trainable == adapters.count(shared).trainable + 3 * 8
    halved = adapters.attach(model(), "compacter", targets=["0", "1"], reduction=2, n=2, factorized_rule=True)
    assert adapters.count(halved).trainable == adapters.count(shared).trainable - 2 * 2 * 2 + 2 * 2 * 2
    # A second adapter has rules of its own.
    adapters.attach(shared, "compacter", targets=["0", "1"], reduction=2, n=2, name="two")
    assert layers[0].tensor("rule", "two") is not layers[0].tensor("rule", "default")


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("compacter", {"targets": ["fc1"], "n": 3}, r"fc1: n=3 does not divide 32 channels"),
        ("unified_adapter", {"targets": ["fc1"], "reads": "nothing"}, r"fc1: Linear has no 'nothing' inside"),
        ("unified_adapter", {"targets": ["fc1"], "form": "cube"}, r"form 'cube' is no activation"),
        ("unified_adapter", {"targets": ["fc1"], "scaling": "big"}, r"scaling 'big' must be a number"),
        ("convnet_adapter", {"targets": ["fc1"]}, r"Linear is no Conv2d; name one in reads"),
    ],
)
def test_what_does_not_fit_is_refused(method: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        adapters.attach(fresh("mlp"), method, **settings)


def test_tokens_that_are_no_grid_are_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    adapters.attach(model, "convpass", targets=["0"])
    assert model(torch.randn(1, 9, 8)).shape == (1, 9, 8)
    with pytest.raises(InputError, match="12 tokens are no square grid"):
        model(torch.randn(1, 12, 8))
    wide = adapters.attach(nn.Sequential(nn.Linear(8, 8)), "convpass", targets=["0"], grid=[3, 4])
    assert wide(torch.randn(1, 12, 8)).shape == (1, 12, 8)
    with pytest.raises(InputError, match="3 x 4 does not fit into 5 tokens"):
        wide(torch.randn(1, 5, 8))
