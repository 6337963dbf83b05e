"""KronA never makes a tensor of a projection's size, neither forward nor backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from suite import adapters

SIZE = 4096


class Largest(TorchDispatchMode):
    """Keeps the size in bytes of the largest storage that is newly made."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known = known
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for value in made if isinstance(made, tuple | list) else (made,):
            if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in self.known:
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return made


def largest(network: nn.Module) -> int:
    """Bytes of the largest new storage in a forward and backward of one token."""
    x = torch.randn(1, 1, SIZE, requires_grad=True)
    with Largest({parameter.untyped_storage().data_ptr() for parameter in network.parameters()}) as watched:
        network(x).square().mean().backward()
    assert x.grad is not None
    return watched.bytes


def layer(method: str, **settings: Any) -> nn.Module:
    network = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False, device="meta").to_empty(device="cpu"))
    nn.init.zeros_(network[0].weight)
    return adapters.attach(network, method, targets=["0"], **settings)


@pytest.mark.parametrize("layout", ["kron", "official"])
def test_acceptance_12_10_no_tensor_of_the_weights_size_is_made(layout: str) -> None:
    """A 4096 x 4096 layer and one token."""
    found = largest(layer("krona", a1=4, a2=64, layout=layout))
    assert found <= 4 * (SIZE // 4) * (SIZE // 64)  # the larger factor


def test_the_watch_sees_a_method_that_does() -> None:
    assert largest(layer("lokr", r=SIZE, alpha=SIZE, decompose_factor=64)) >= 4 * SIZE * SIZE
