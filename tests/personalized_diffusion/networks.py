"""Small networks of the real classes with trained-looking adapters, for what needs no pictures."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.personalized_diffusion.model.methods import TEXT_PROJECTIONS, krona, lora, targets
from domains.personalized_diffusion.official import adapter_folder as stored
from suite import adapters

__all__ = ["TEXT_PROJECTIONS", "krona", "targets"]

CROSS = 48
FACTS = {
    "family": "tiny",
    "base": "tiny",
    "trigger": {"token": "sks", "noun": "dog", "template": "a photo of {token} {noun}"},
    "text_encoder": False,
    "train": {"steps": 20, "lr": 5e-4, "seed": 3, "images": 5},
    "resolution": 64,
    "method": "krona",
}


@cache
def _unet(layers: int) -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=CROSS,
        attention_head_dim=8,
        norm_num_groups=8,
    ).requires_grad_(False)


def unet(layers: int = 1) -> nn.Module:
    """A UNet with random weights, the same each time."""
    return copy.deepcopy(_unet(layers)).eval()


@cache
def _text_encoder() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(1)
    sizes: dict[str, Any] = {"hidden_size": CROSS, "intermediate_size": 64, "num_attention_heads": 4}
    model = CLIPTextModel(CLIPTextConfig(vocab_size=64, num_hidden_layers=2, max_position_embeddings=16, **sizes))
    return model.requires_grad_(False)


def text_encoder() -> nn.Module:
    """A CLIP text encoder with random weights, the same each time."""
    return copy.deepcopy(_text_encoder()).eval()


def run(network: nn.Module) -> Tensor:
    """A UNet's prediction for one fixed input."""
    generator = torch.Generator().manual_seed(5)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    states = torch.randn(2, 7, CROSS, generator=generator)
    with torch.no_grad():
        return network(sample, torch.tensor([3, 700]), states).sample


def fill(network: nn.Module, scale: float = 0.3) -> None:
    """Give everything that trains values as after training."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def with_krona(factors: tuple[int, int] = (4, 8), layout: str = "kron", layers: int = 1, **settings: Any) -> nn.Module:
    """A UNet with KronA on its attention."""
    network = unet(layers)
    adapters.attach(network, krona(factors, layout=layout, **settings))
    fill(network)
    return network.eval()


def with_lora(rank: int = 3, layers: int = 1) -> nn.Module:
    """A UNet with LoRA on its attention."""
    network = unet(layers)
    adapters.attach(network, {**lora(rank), "lora_alpha": 2 * rank})
    fill(network)
    return network.eval()


def with_both(factors: tuple[int, int] = (4, 8), layout: str = "kron") -> nn.ModuleDict:
    """UNet and text encoder, both with KronA."""
    network = nn.ModuleDict({"unet": unet(), "text_encoder": text_encoder()})
    unet_part = krona(factors, layout=layout)
    text_part = krona(factors, names=TEXT_PROJECTIONS, layout=layout)
    adapters.attach(network, unet_part, text_part)
    fill(network)
    return network.eval()


def save(network: nn.Module, folder: Path, **facts: Any) -> Path:
    """The network's adapter as a folder, with the facts that the recipe records."""
    return adapters.save(network, folder, base="tiny", extra={**FACTS, **facts})


def deltas(folder: Path) -> dict[tuple[str, str], Tensor]:
    """What a saved adapter adds to each weight, through the core's own layers."""
    found = stored.read(folder)
    return {(part, name): change.delta() for part, modules in found.changes.items() for name, change in modules.items()}


def layer_deltas(network: nn.Module) -> dict[str, Tensor]:
    """What the active adapter of a network adds to each weight."""
    return {
        name: layer.get_delta_weight(layer.active_adapters[0]).detach()
        for name, layer in network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def layer_deltas_of(container: nn.ModuleDict) -> dict[str, dict[str, Tensor]]:
    """`layer_deltas` by component; a container's methods carry names of their own."""
    return {
        component: {
            name: layer.get_delta_weight(layer.active_adapters[0]).detach()
            for name, layer in network.named_modules()
            if hasattr(layer, "get_delta_weight")
        }
        for component, network in container.items()
    }


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def merged_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights that the adapted layers of a network compute with."""
    return {
        name: layer.get_base_layer().weight + layer.get_delta_weight(layer.active_adapters[0])
        for name, layer in network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
