"""What runners of adapter methods share: a model of one layer, and the authors' tensors in the adapter's place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOLERANCE = dict(atol=1e-5, rtol=0.0)


def group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start so, without the start."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Sequential:
    """A model of one linear layer, called `0`."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return nn.Sequential(layer).eval()


def fill(layer: nn.Module, tensors: dict[str, Tensor], adapter: str = "default") -> None:
    """Put tensors in the place of an adapter's, by their names without the method's prefix."""
    with torch.no_grad():
        for name, value in tensors.items():
            layer.tensor(name, adapter).copy_(value)
