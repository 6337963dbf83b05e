"""Adapters on sequences: causal, streamed as computed at once, and blind to padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive.sequences import Point, Stream
from suite.errors import InputError
from tests.adapters.cases import randomise

WIDTH, STEPS = 16, 21
SETTINGS: dict[str, dict[str, Any]] = {
    "linear_adapter": {"bottleneck_size": 6},
    "conv_adapter": {"bottleneck_size": 8},
    "attention_adapter": {"bottleneck_size": 8, "heads": 2, "blocks": 2},
}
METHODS = sorted(SETTINGS)


def adapted(method: str, **settings: Any) -> nn.Module:
    """Two places in a row, each with an adapter that was moved away from the identity."""
    model = nn.Sequential(Point(WIDTH), nn.Tanh(), Point(WIDTH))
    model = adapters.attach(model, method, targets=["0", "2"], **SETTINGS[method], **settings).eval()
    randomise(model, scale=0.3)
    return model


def states(batch: int = 3) -> Tensor:
    return torch.randn(batch, STEPS, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_later_changes_nothing_before(method: str) -> None:
    model, h = adapted(method), states()
    other = h.clone()
    other[:, 9:] = other[:, 9:].flip(1) + 1
    with torch.no_grad():
        a, b = model(h), model(other)
    assert torch.allclose(a[:, :9], b[:, :9], atol=1e-6)
    assert not torch.allclose(a[:, 9:], b[:, 9:], atol=1e-2)


@pytest.mark.parametrize("method", ["conv_adapter", "attention_adapter"])
def test_an_adapter_that_is_not_causal_sees_all(method: str) -> None:
    model, h = adapted(method, causal=False), states()
    other = h.clone()
    other[:, -1] += 1
    with torch.no_grad():
        assert not torch.allclose(model(h)[:, 0], model(other)[:, 0], atol=1e-5)


@pytest.mark.parametrize("pieces", [[1] * STEPS, [7, 1, 1, 5, 1, 6]], ids=["single steps", "uneven pieces"])
@pytest.mark.parametrize("method", METHODS)
def test_streaming_gives_what_the_whole_sequence_gives(method: str, pieces: list[int]) -> None:
    model, h = adapted(method), states()
    with torch.no_grad():
        whole = model(h)
        with adapters.context(model, stream=Stream()):
            streamed = torch.cat([model(part) for part in h.split(pieces, 1)], 1)
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_memory_follows_its_rows(method: str) -> None:
    """Beams are reordered, and a batch is doubled for guidance."""
    model, h = adapted(method), states()
    rows = torch.tensor([2, 0, 2, 1])
    stream = Stream()
    with torch.no_grad(), adapters.context(model, stream=stream):
        model(h[:, :10])
        stream.select(rows)
        later = model(h[rows, 10:])
    with torch.no_grad():
        whole = model(h[rows])
    torch.testing.assert_close(later, whole[:, 10:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["conv_adapter", "attention_adapter"])
def test_padding_does_not_leak_into_an_adapter_that_sees_all(method: str) -> None:
    model, h = adapted(method, causal=False), states()
    valid = torch.ones(3, STEPS, dtype=torch.bool)
    valid[1, 12:] = False
    other = h.clone()
    other[1, 12:] = 100.0
    with torch.no_grad(), adapters.context(model, valid=valid):
        a, b = model(h), model(other)
    alone = model(h[1:2, :12])
    torch.testing.assert_close(a[valid], b[valid], atol=1e-5, rtol=0)
    torch.testing.assert_close(a[1:2, :12], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_adapter_is_the_identity_to_the_bit(method: str) -> None:
    model = adapters.attach(nn.Sequential(Point(WIDTH)), method, targets=["0"], **SETTINGS[method]).train()
    h = states()
    assert torch.equal(model(h), h)


@pytest.mark.parametrize("method", METHODS)
def test_merging_is_refused_with_a_reason(method: str) -> None:
    with pytest.raises(InputError, match=f"{method} .*cannot be merged"):
        adapters.merge(adapted(method))


def test_the_input_of_a_norm_can_be_adapted() -> None:
    """The state before the final norm, which no module of the network gives as its output."""
    model = nn.Sequential(nn.Identity(), nn.LayerNorm(WIDTH))
    model = adapters.attach(model, "linear_adapter", targets=["1"], bottleneck_size=4, at="input").eval()
    randomise(model, scale=0.3)
    h = states()
    branch = next(layer for _, layer in adapters.layers(model, "linear_adapter")).tensor("branch", "default")
    expected = nn.functional.layer_norm(branch(h), (WIDTH,), model[1].weight, model[1].bias, model[1].eps)
    torch.testing.assert_close(model(h), expected)


def test_a_host_of_unknown_width_is_named() -> None:
    model = nn.Sequential(nn.Identity())
    with pytest.raises(InputError, match=r"0: a Identity does not tell .* set width"):
        adapters.attach(model, "conv_adapter", targets=["0"])
    adapters.attach(model, "conv_adapter", targets=["0"], width=WIDTH, bottleneck_size=4)
    assert model(states()).shape == (3, STEPS, WIDTH)
