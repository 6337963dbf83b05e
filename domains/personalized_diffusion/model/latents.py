"""Pictures as the denoisers of each family see them: what the VAE says of them, scaled as the pipelines do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers  # its pipelines are loaded on use, each with all that it needs
import torch
from torch import Tensor

from domains.personalized_diffusion.model.bases import Base


def moments_of(vae: Any, pixels: Tensor) -> Tensor:
    """Mean and logarithm of the variance (B, 2C, h, w) of pictures (B, 3, H, W) in [-1, 1]; in float32.

    A video's VAE (Qwen-Image) sees each picture as a film of one frame.
    """
    film = hasattr(vae, "temperal_downsample")
    pixels = pixels.to(vae.device, vae.dtype)
    found = vae.encode(pixels[:, :, None] if film else pixels).latent_dist.parameters
    return (found[:, :, 0] if film else found).float()


def scaled_latents(base: Base, batch: Mapping[str, Any]) -> Tensor:
    """Latents (B, C, h, w) of a batch as the denoiser reads them: a draw from the VAE's posterior, scaled.

    Args:
        batch: `moments` (B, 2C, h, w) as cached, or `pixels` (B, 3, H, W).
    """
    if "moments" in batch:
        moments = batch["moments"]
    else:
        with torch.no_grad():
            moments = moments_of(base.vae, batch["pixels"])
    mean, log_variance = moments.chunk(2, dim=1)
    deviation = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
    return _scaled(base.vae, mean + deviation * torch.randn_like(mean))


def _scaled(vae: Any, latents: Tensor) -> Tensor:
    config = vae.config
    if getattr(config, "latents_mean", None):  # Qwen-Image: by channel
        mean, deviation = (
            torch.tensor(numbers).view(1, -1, 1, 1).to(latents) for numbers in (config.latents_mean, config.latents_std)
        )
        return (latents - mean) / deviation
    if hasattr(vae, "bn"):  # Flux.2: patches of 2 x 2 become channels, scaled by the statistics of a batch norm
        latents = diffusers.Flux2Pipeline._patchify_latents(latents)
        mean = vae.bn.running_mean.view(1, -1, 1, 1).to(latents)
        return (latents - mean) / torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + config.batch_norm_eps).to(latents)
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor
