"""How the transformers of rectified flows are asked for the velocity, family by family; all take and give latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import diffusers  # its pipelines are loaded on use, each with all that it needs
import torch
from torch import Tensor

from domains.personalized_diffusion.model.conditioning import Conditioning

STEPS = 1000
"""Noise levels of every flow's scheduler: what SD3 calls its timesteps."""


def velocity(
    family: str, transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, guidance: float
) -> Tensor:
    """The velocity from the picture to the noise, (B, C, h, w).

    Args:
        sample: (B, C, h, w) noised latents. levels: (B,) share of noise, 0 to 1.
        guidance: what a network that was distilled on guidance is told of it.
    """
    told = sample.new_full((len(sample),), guidance) if getattr(transformer.config, "guidance_embeds", False) else None
    return _ASK[family](transformer, sample, levels, said, told)


def _sd3(transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, told: Tensor | None) -> Tensor:
    return transformer(
        hidden_states=sample,
        timestep=levels * STEPS,
        encoder_hidden_states=said.embeds,
        pooled_projections=said.pooled,
    ).sample


def _flux(transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, told: Tensor | None) -> Tensor:
    count, channels, height, width = sample.shape
    where: dict[str, Any] = {"device": sample.device, "dtype": sample.dtype}
    predicted = transformer(
        hidden_states=diffusers.FluxPipeline._pack_latents(sample, count, channels, height, width),  # (B, hw / 4, 4C)
        timestep=levels,
        guidance=told,
        pooled_projections=said.pooled,
        encoder_hidden_states=said.embeds,
        txt_ids=torch.zeros(said.embeds.shape[1], 3, **where),
        img_ids=diffusers.FluxPipeline._prepare_latent_image_ids(
            count, height // 2, width // 2, where["device"], where["dtype"]
        ),
    ).sample
    return diffusers.FluxPipeline._unpack_latents(predicted, height * 8, width * 8, 8)


def _flux2(transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, told: Tensor | None) -> Tensor:
    predicted = transformer(
        hidden_states=diffusers.Flux2Pipeline._pack_latents(sample),  # (B, hw, C)
        timestep=levels,
        guidance=told,
        encoder_hidden_states=said.embeds,
        txt_ids=diffusers.Flux2Pipeline._prepare_text_ids(said.embeds).to(sample.device),
        img_ids=diffusers.Flux2Pipeline._prepare_latent_ids(sample).to(sample.device),
    ).sample
    return predicted.transpose(1, 2).reshape(sample.shape)


def _qwen_image(transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, told: Tensor | None) -> Tensor:
    count, channels, height, width = sample.shape
    predicted = transformer(
        hidden_states=diffusers.QwenImagePipeline._pack_latents(
            sample, count, channels, height, width
        ),  # (B, hw / 4, 4C)
        timestep=levels,
        guidance=told,
        encoder_hidden_states=said.embeds,
        encoder_hidden_states_mask=said.mask,
        img_shapes=[[(1, height // 2, width // 2)]] * count,
    ).sample
    return diffusers.QwenImagePipeline._unpack_latents(predicted, height * 8, width * 8, 8)[:, :, 0]


def _z_image(transformer: Any, sample: Tensor, levels: Tensor, said: Conditioning, told: Tensor | None) -> Tensor:
    """Its time runs from noise to picture, and so does its velocity."""
    masks = said.embeds.new_ones(said.embeds.shape[:2], dtype=torch.bool) if said.mask is None else said.mask
    captions = [states[mask] for states, mask in zip(said.embeds, masks, strict=True)]  # (L, D) each
    predicted = transformer(list(sample[:, :, None]), 1 - levels, captions).sample
    return -torch.stack(list(predicted))[:, :, 0]


_ASK: Mapping[str, Callable[[Any, Tensor, Tensor, Conditioning, Tensor | None], Tensor]] = {
    "sd3": _sd3,
    "flux": _flux,
    "flux2": _flux2,
    "flux2_klein": _flux2,
    "qwen_image": _qwen_image,
    "z_image": _z_image,
}
