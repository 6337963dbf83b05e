"""Layers whose weights torch reads without calling them: adapters act on them, or are refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.errors import InputError

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "init_lora_weights": False},
    "krona": {"a1": 4, "a2": 4, "init_weights": False},
    "ssf": {"init_weights": False},
    "ia3": {"feedforward_modules": [], "init_ia3_weights": False},
    "paca": {"r": 2, "init_weights": False},
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 2).eval()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.fc = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.attn(x, x, x)[0])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_torch_s_encoder_layer_takes_no_fast_path_past_an_adapter(method: str, padded: bool) -> None:
    base, x = encoder(), torch.randn(2, 5, 16)
    mask = torch.tensor([[0] * 5, [0, 0, 0, 1, 1]]).bool() if padded else None
    real = ~mask if mask is not None else torch.ones(2, 5).bool()

    def run(model: nn.Module) -> Tensor:
        with torch.no_grad():
            return model(x, src_key_padding_mask=mask)[real]

    before = run(base)
    model = adapters.attach(base, method, targets=["linear1", "linear2"], **METHODS[method])
    trained = run(model.train())
    assert torch.allclose(run(model.eval()), trained, atol=1e-6)
    assert not torch.allclose(trained, before, atol=1e-3)
    with adapters.disabled(model):
        assert torch.equal(run(model), before)
    assert torch.allclose(run(model), trained, atol=1e-6)
    adapters.activate(model)
    assert torch.equal(run(model), before)
    adapters.activate(model, "default")
    assert torch.allclose(run(model), trained, atol=1e-6)
    assert torch.equal(run(adapters.detach(model)), before)


@pytest.mark.parametrize("targets", [["attn.out_proj", "fc"], r".*(out_proj|fc)"])
@pytest.mark.parametrize("method", [*METHODS, "vera", "series_adapter"])
def test_the_output_projection_of_torch_s_attention_is_refused(method: str, targets: Any) -> None:
    model = Attention()
    with pytest.raises(InputError, match=r"attn\.out_proj") as error:
        adapters.attach(model, method, targets=targets, **METHODS.get(method, {}))
    assert "\n" not in str(error.value)
    assert list(model.state_dict()) == list(Attention().state_dict())
    assert adapters.attached(model) == []


@pytest.mark.parametrize("settings", [{"targets": ["attn"]}, {"targets": ["fc"], "modules_to_save": ["out_proj"]}])
def test_what_reaches_the_projection_otherwise_trains_it(settings: dict[str, Any]) -> None:
    model = adapters.attach(Attention(), "lora", r=2, init_lora_weights=False, **settings)
    model(torch.randn(2, 5, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_its_own_parameters_train_in_place() -> None:
    model = adapters.attach(Attention(), "bitfit", train=["attn.out_proj.weight"], targets=["attn.out_proj"])
    model(torch.randn(2, 5, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
