"""Layers whose weights torch reads without calling them: adapters act on them, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite import adapters
from suite.errors import InputError

pytestmark = pytest.mark.usefixtures("quiet_and_seeded")

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "init_lora_weights": False},
    "krona": {"a1": 4, "a2": 4, "init_weights": False},
    "ssf": {"init_weights": False},
    "ia3": {"feedforward_modules": [], "init_ia3_weights": False},
    "paca": {"r": 2, "init_weights": False},
}


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


class Reading(nn.Module):
    """Its layers are called, read, asked, or both; `read` in a method that the forward inherits."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read, self.asked, self.both = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor, fused: bool = False) -> Tensor:
        x = self.project(self.called(x)).to(self.called.weight.dtype)
        x = self.asked(x) if isinstance(self.asked.weight, Tensor) and self.asked.weight.dtype is x.dtype else x
        return functional.linear(x, self.both.weight) if fused else self.both(x)

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.read.weight, self.read.bias)

    def unused(self, x: Tensor) -> Tensor:
        return functional.linear(self.read(x), self.called.weight)


class Inheriting(Reading):
    def project(self, x: Tensor) -> Tensor:
        return super().project(x)


class Calling(Reading):
    def project(self, x: Tensor) -> Tensor:
        return self.read(x)


@pytest.mark.parametrize("method", [*METHODS, "series_adapter"])
@pytest.mark.parametrize("host", [Reading, Inheriting])
def test_a_layer_that_its_host_never_calls_is_refused(host: type[Reading], method: str) -> None:
    settings = METHODS.get(method, {})
    with pytest.raises(InputError, match=r"inner\.read is read by its \w+ and not called") as error:
        adapters.attach(nn.ModuleDict({"inner": host()}), method, targets=["called", "read"], **settings)
    assert "\n" not in str(error.value)
    adapters.attach(host(), method, targets=["called", "asked", "both"], **settings)
    adapters.attach(Calling(), method, targets=["read"], **settings)
    adapters.attach(host(), "bitfit", train=["read.weight"], targets=["read"])


def hosts() -> dict[str, tuple[Callable[[], nn.Module], str, str]]:
    """By name a host of an installed package, a layer whose weight it reads, and one that it calls."""
    from diffusers.models.embeddings import HunyuanDiTAttentionPool
    from timm.models.beit import Attention as Beit
    from timm.models.eva import EvaAttention
    from timm.models.swin_transformer_v2 import WindowAttention
    from transformers.models.detr.modeling_detr import DetrMHAttentionMap
    from transformers.models.wavlm.modeling_wavlm import WavLMAttention

    return {
        "beit": (lambda: Beit(16, num_heads=2, qkv_bias=True), "qkv", "proj"),
        "eva": (lambda: EvaAttention(16, num_heads=2, qkv_bias=True, scale_norm=False), "qkv", "proj"),
        "swin v2": (lambda: WindowAttention(16, (4, 4), 2), "qkv", "proj"),
        "wavlm": (lambda: WavLMAttention(16, 2), "q_proj", "gru_rel_pos_linear"),
        "detr": (lambda: DetrMHAttentionMap(16, 2), "k_proj", "q_proj"),
        "hunyuan": (lambda: HunyuanDiTAttentionPool(4, 16, 2), "v_proj", ""),
    }


@pytest.mark.parametrize("name", ["beit", "eva", "swin v2", "wavlm", "detr", "hunyuan"])
def test_hosts_of_other_packages(name: str) -> None:
    make, read, called = hosts()[name]
    with pytest.raises(InputError, match=f"{read} is read by its"):
        adapters.attach(nn.ModuleDict({"block": make()}), "lora", targets=[read])
    if called:
        adapters.attach(nn.ModuleDict({"block": make()}), "lora", targets=[called])


@pytest.mark.parametrize("name", ["beit", "eva"])
def test_a_projection_that_adds_its_biases_separately_is_called(name: str) -> None:
    host = hosts()[name][0]().eval()
    x = torch.randn(2, 5, 16)
    host.qkv_bias_separate = True
    before = host(x)
    model = adapters.attach(host, "lora", targets=["qkv"], r=2, init_lora_weights=False)
    changed = model(x)
    assert not torch.allclose(changed, before, atol=1e-4)
    adapters.merge(model)
    assert torch.allclose(model(x), changed, atol=1e-5)
