"""KronA on a diffusers UNet: nothing at the start, exact when merged, additive, off at strength 0."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from domains.personalized_diffusion.model.methods import METHODS, MethodSettings
from domains.personalized_diffusion.tiny import networks as small
from suite import adapters
from suite.adapters import scale as set_strength
from suite.errors import InputError


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return small.unet().eval().requires_grad_(False)


def answer(unet: UNet2DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, unet.config.in_channels, 8, 8, generator=generator)
    text = torch.randn(2, 5, unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        return unet(sample, torch.tensor([3, 700]), text).sample


def stir(unet: UNet2DConditionModel, seed: int) -> None:
    """Give the active adapter some change."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("method", METHODS)
def test_acceptance_12_6_an_adapter_changes_nothing_before_it_is_trained(
    unet: UNet2DConditionModel, method: str
) -> None:
    before = answer(unet)
    MethodSettings(method, (4, 16)).attach(unet)
    if method in ("krona", "lora", "full"):
        assert torch.equal(answer(unet), before)
    else:  # an orthogonal basis put together again, or a product with zeros
        torch.testing.assert_close(answer(unet), before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["kron", "official"])
def test_acceptance_12_6_merging_is_exact_and_unmerging_restores_every_bit(
    unet: UNet2DConditionModel, layout: str
) -> None:
    weight = unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_out[0].weight
    before = weight.clone()
    MethodSettings("krona", (4, 16), layout=layout).attach(unet)
    stir(unet, 1)
    live = answer(unet)
    adapters.merge(unet)
    torch.testing.assert_close(answer(unet), live, atol=1e-5, rtol=0)
    adapters.unmerge(unet)
    assert torch.equal(unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_out[0].base_layer.weight, before)
    assert torch.equal(answer(unet), live)


def test_acceptance_12_6_two_adapters_add_up(unet: UNet2DConditionModel) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
    plain = unet.get_submodule(name).weight.clone()
    for number, adapter in enumerate(("one", "two")):
        MethodSettings("krona", (4, 16) if number else (8, 8), options={"scaling": 1.0}).attach(unet, adapter)
        stir(unet, number)
    layer = unet.get_submodule(name)
    both = plain + layer.get_delta_weight("one") + layer.get_delta_weight("two")
    adapters.activate(unet, "one", "two")
    together = answer(unet)
    adapters.merge(unet)
    torch.testing.assert_close(layer.base_layer.weight, both, atol=1e-6, rtol=0)
    torch.testing.assert_close(answer(unet), together, atol=1e-5, rtol=0)


def test_acceptance_12_6_strength_0_is_the_base(unet: UNet2DConditionModel) -> None:
    before = answer(unet)
    MethodSettings("krona", (4, 16)).attach(unet)
    stir(unet, 2)
    moved = answer(unet)
    set_strength(unet, 0.0)
    assert torch.equal(answer(unet), before)
    set_strength(unet, 1.0)
    assert torch.equal(answer(unet), moved)
    assert not torch.equal(moved, before)


def test_factors_by_letter(unet: UNet2DConditionModel) -> None:
    MethodSettings("krona", {"k": (4, 16), "v": (8, 8)}, "kv").attach(unet)
    block = unet.mid_block.attentions[0].transformer_blocks[0]
    assert block.attn2.to_k.tensor("a", "default").shape == (4, 16)
    assert block.attn2.to_v.tensor("a", "default").shape == (8, 8)
    assert type(block.attn2.to_q) is torch.nn.Linear


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MethodSettings("krona", projections="kx"), "unknown letters x"),
        (lambda: MethodSettings("krona", projections=""), "at least one"),
        (lambda: MethodSettings("dora"), "unknown 'dora'"),
        (lambda: MethodSettings("lora", rank=0), "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], MethodSettings], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
