"""Sparse plus low-rank: exact gradients, no dense weight kept between the passes, models that have no other weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized.sparse_low_rank import (
    SparseLowRankProduct,
    read_splora_config,
    replace_linears,
    write_splora_config,
)
from suite.errors import InputError

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize("with_weight", [False, True])
def test_gradients_are_those_of_the_sum(with_weight: bool) -> None:
    torch.manual_seed(0)
    shapes = ((3, 5), (2, 5), (4, 2), (6,))
    x, a, b, values = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    weight = torch.randn(4, 5, dtype=torch.float64) if with_weight else None
    index = torch.randperm(20)[:6]
    assert torch.autograd.gradcheck(
        lambda x, a, b, values: SparseLowRankProduct.apply(x, weight, a, b, values, index, 0.7), (x, a, b, values)
    )


def test_no_dense_weight_is_kept_for_the_backward() -> None:
    layer = replace_linears(nn.Sequential(nn.Linear(64, 96)), ["0"], r=2, alpha=4, sp_ratio=0.01)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        layer(torch.randn(3, 64)).sum().backward()
    assert max(kept) < 64 * 96 / 4


@pytest.mark.parametrize(
    ("hidden", "inner", "layers", "rank", "share", "full", "total"),
    [
        (512, 1376, 8, 128, 0.03, 58.07, 43.53),
        (768, 2048, 12, 256, 0.03, 134.11, 96.55),
        (1024, 2736, 24, 256, 0.03, 367.97, 194.29),
        (2048, 5461, 24, 512, 0.03, 1339.08, 645.55),
        (4096, 11008, 32, 1024, 0.05, 6738.42, 3144.74),
    ],
)
def test_pretrained_models_have_the_published_sizes(
    hidden: int, inner: int, layers: int, rank: int, share: float, full: float, total: float
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(
            LlamaConfig(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, vocab_size=32000)
        )
    assert round(adapters.count(model).total / 1e6, 2) == full
    replace_linears(model, TARGETS, r=rank, alpha=16, sp_ratio=share)
    assert round(adapters.count(model).total / 1e6, 2) == total


def test_a_published_folder_tells_how_its_model_is_built(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no splora_config\.json"):
        read_splora_config(tmp_path)
    settings = {"r": 4, "alpha": 8.0, "sp_ratio": 0.25}
    write_splora_config(tmp_path, ["0"], **settings)
    assert read_splora_config(tmp_path) == {"targets": ["0"], **settings}
    torch.manual_seed(0)
    first = replace_linears(nn.Sequential(nn.Linear(8, 8)), **read_splora_config(tmp_path))
    second = replace_linears(nn.Sequential(nn.Linear(8, 8)), **read_splora_config(tmp_path))
    second.load_state_dict(first.state_dict())
    assert sorted(first.state_dict()) == ["0.bias", "0.lora_A", "0.lora_B", "0.sparse_index", "0.sparse_value"]
    x = torch.randn(2, 8)
    assert torch.equal(first(x), second(x))
    with pytest.raises(InputError, match="no linear layer of the model is called q_proj"):
        replace_linears(first, ["q_proj"], **settings)
