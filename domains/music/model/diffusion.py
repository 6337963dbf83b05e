"""The diffusion that Mustango is trained and sampled with: targets, and weights by the ratio of signal to noise."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import DDPMScheduler
from torch import Tensor

SnrForm = Literal["v", "published", "none"]
"""Min-SNR weighting (arXiv 2303.09556) of a network that predicts the velocity: `v` divides by SNR + 1; `published`
divides by SNR, which is meant for networks that predict the noise."""

GAMMA = 5.0


def scheduler(**changes: Any) -> DDPMScheduler:
    """That of Stable Diffusion 2.1, which Mustango took over: 1000 steps, velocity."""
    known: dict[str, Any] = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "clip_sample": False,
    }
    return DDPMScheduler(**{**known, **changes})


def snr(schedule: DDPMScheduler, timesteps: Tensor) -> Tensor:
    """Signal over noise (B,) at each of `timesteps` (B,)."""
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    return kept / (1 - kept)


def weights(schedule: DDPMScheduler, timesteps: Tensor, form: SnrForm = "v", gamma: float = GAMMA) -> Tensor:
    """What each sample's error counts (B,)."""
    if form == "none":
        return torch.ones_like(timesteps, dtype=torch.float32)
    ratio = snr(schedule, timesteps)
    return ratio.clamp_max(gamma) / (ratio + 1 if form == "v" else ratio)


def target(schedule: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network is to predict."""
    if schedule.config.prediction_type == "v_prediction":
        return schedule.get_velocity(latents, noise, timesteps)
    return noise
