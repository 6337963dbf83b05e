"""`bias="<method>_only"` of methods that sit inside their host: the host's bias trains, is saved, and given back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from suite import adapters

METHODS = {"parallel_adapter": {"bottleneck_size": 2}, "paca": {"r": 2}, "lora": {"r": 2}, "ssf": {}}


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


@pytest.mark.parametrize("method", METHODS)
def test_a_targets_own_bias_trains_along(method: str, tmp_path: Path) -> None:
    x, kind = torch.randn(2, 4), f"{method}_only"
    model = adapters.attach(base(), method, targets=["0"], bias=kind, **METHODS[method])
    trained = [name for name, p in model.named_parameters() if p.requires_grad and name.endswith("bias")]
    assert len(trained) == 1
    with torch.no_grad():
        model.get_parameter(trained[0]).add_(1.0)
    output = model(x)
    adapters.save(model, tmp_path / "a")
    saved = load_file(tmp_path / "a/adapter_model.safetensors")
    assert sum(key.endswith("bias") and ".0." in key for key in saved) == 1
    assert torch.equal(adapters.load(base(), tmp_path / "a")(x), output)
    with adapters.disabled(model):
        assert torch.equal(model(x), base()(x))
    assert torch.equal(model(x), output)
    assert torch.equal(adapters.detach(model)(x), base()(x))
