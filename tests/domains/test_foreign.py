"""The foreign device behaves as a GPU would towards code that runs on it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.domains.foreign import FOREIGN, foreign_device


@pytest.fixture
def there() -> Iterator[torch.device]:
    with foreign_device() as device:
        yield device


def test_what_is_computed_lies_where_its_inputs_lie(there: torch.device) -> None:
    x = torch.ones(2, 3).to(there)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).to(there)
    y = net(x)
    loss = y.square().mean() + torch.nn.functional.cross_entropy(y, torch.zeros(2, dtype=torch.long, device=there))
    loss.backward()
    gradient = net[0].weight.grad
    assert gradient is not None
    for tensor in (x, y, loss, gradient, x.new_zeros(2), torch.zeros_like(x), y[0], x.T, copy.deepcopy(x), x.clone()):
        assert tensor.device == FOREIGN and not tensor.is_cpu
    for tensor in (x.cpu(), x.to("cpu"), torch.zeros_like(x, device="cpu"), torch.zeros(2), torch.tensor(x.tolist())):
        assert tensor.device.type == "cpu" and tensor.is_cpu
    assert torch.tensor([True], device=there).device == x.new_tensor([1]).device == FOREIGN
    assert torch.arange(3, device=there).device == torch.as_tensor([1.0], device=there).device == FOREIGN
    assert x.cpu().numpy().shape == (2, 3) and x.sum().item() == 6


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x + torch.ones(2, 3),
        lambda x: torch.cat([x, torch.zeros(1, 3)]),
        lambda x: nn.Linear(3, 1)(x),
        lambda x: torch.ones(4)[x[0].long()],
        lambda x: torch.nn.functional.embedding(x.long(), torch.ones(4, 2)),
        lambda x: x.numpy(),
        lambda x: x.masked_fill(torch.ones(2, 3, dtype=torch.bool), 0.0),
        lambda x: torch.randn(2, device=x.device, generator=torch.Generator().manual_seed(0)),
        lambda x: x.normal_(generator=torch.Generator().manual_seed(0)),
    ],
)
def test_tensors_of_both_places_do_not_meet(wrong: Callable[[Tensor], object], there: torch.device) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"cpu|numpy|generator"):
        wrong(torch.ones(2, 3, device=there))


def test_what_a_gpu_allows_is_allowed(there: torch.device) -> None:
    x = torch.ones(2, 3, device=there)
    assert (x * torch.tensor(2.0)).sum().item() == 12
    assert x[torch.tensor([1])].device == FOREIGN
    here = torch.zeros(2, 3)
    here.copy_(x)
    assert here.device.type == "cpu" and here.sum() == 6
    with torch.inference_mode():
        assert torch.nn.functional.one_hot(x.long()).device == FOREIGN


def test_recomputed_blocks_are_seen_too(there: torch.device) -> None:
    layer = nn.Linear(3, 3).to(there)
    seen = []

    def block(x: Tensor) -> Tensor:
        seen.append(x.device)
        return layer(x) + torch.zeros(3, device=x.device)

    x = torch.ones(2, 3, device=there, requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()
    assert seen == [FOREIGN] * 2
    assert layer.weight.grad is not None and layer.weight.grad.device == FOREIGN


def test_ties_and_identities_survive_a_move(there: torch.device) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = weight = net[0].weight
    net.to(there)
    assert net[0].weight is net[1].weight is weight and weight.device == FOREIGN
    assert net.cpu()[0].weight.device.type == "cpu"
