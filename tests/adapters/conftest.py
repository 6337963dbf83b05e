"""Small models of every kind the suite adapts, built once and copied."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def llama(_llama: nn.Module) -> Callable[[], nn.Module]:
    """A maker of equal, independent tiny Llamas."""
    return lambda: copy.deepcopy(_llama)


@pytest.fixture
def tokens() -> torch.Tensor:
    """Token ids, (2, 7)."""
    return torch.randint(0, 61, (2, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def randomise() -> Callable[[nn.Module], None]:
    """Fill whatever trains with random values, so that an adapter shows in the output."""

    def fill(model: nn.Module) -> None:
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    return fill


@pytest.fixture
def quiet_and_seeded() -> Iterator[None]:
    """No warnings, and the same numbers in every test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield
