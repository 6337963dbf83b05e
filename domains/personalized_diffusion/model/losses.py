"""The losses of DreamBooth training (Ruiz et al., arXiv 2208.12242, equation 2) and their options."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from suite.errors import InputError


def target_of(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network is to predict, by the scheduler's own `prediction_type`: the noise, or the velocity.

    Raises:
        InputError: the prediction type is neither.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    raise InputError(f"the base predicts {kind!r}; training knows epsilon and v_prediction")


def snr_weight(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights (B,) (Hang et al., arXiv 2303.09556): min(SNR, gamma) over SNR, or over SNR + 1 for velocity."""
    cumulative = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = cumulative / (1 - cumulative)
    divisor = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr
    return snr.clamp(max=gamma) / divisor


def denoising_loss(
    prediction: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Squared error of each sample (B,), in float32, weighted.

    Args:
        prediction, target: (B, C, h, w). weight: (B,) of the samples.
        mask: (B, 1, H, W) weights of places, of mean 1, as fine as the latents or finer.
    """
    error = functional.mse_loss(prediction.float(), target.float(), reduction="none")
    if mask is not None:
        error = error * functional.adaptive_avg_pool2d(mask.float(), error.shape[-2:])
    error = error.flatten(1).mean(1)
    return error if weight is None else error * weight


def prior_preservation(per_sample: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Instance loss + weight * class loss of a batch whose first half are photos and second half class images.

    Returns:
        The loss, and its instance and class parts.

    Raises:
        InputError: the batch cannot be halved.
    """
    if len(per_sample) % 2:
        raise InputError(f"a batch of {len(per_sample)} cannot be half photos and half class images")
    instance, prior = (half.mean() for half in per_sample.chunk(2))
    return instance + weight * prior, instance, prior


def check_finite(loss: Tensor, step: int) -> None:
    """Stop at a loss that is NaN or infinite.

    Raises:
        InputError: it is; the message names the usual causes.
    """
    if not torch.isfinite(loss):
        raise InputError(
            f"the loss is {float(loss)} at step {step}: usual causes are a VAE in float16 (use bf16 or float32) and a "
            "learning rate above 1e-3"
        )
