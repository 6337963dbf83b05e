"""What the denoiser is asked while it trains: noise and velocity of diffusion models, velocity of rectified flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from domains.personalized_diffusion.model import losses
from domains.personalized_diffusion.model.bases import Base
from domains.personalized_diffusion.model.conditioning import Conditioning
from domains.personalized_diffusion.model.velocities import velocity
from suite.errors import InputError

Sampling = Literal["uniform", "logit_normal"]


@dataclass(frozen=True)
class Timesteps:
    """Which noise levels are trained.

    Attributes:
        sampling: `uniform`, or `logit_normal` (Esser et al., arXiv 2403.03206, section 3.1), which prefers the middle.
        mean, std: of the normal under the logistic.
        lowest, highest: share of the noise levels to stay within, 0 clean and 1 noise.
        shift: of a rectified flow's levels towards noise; None takes the base's own.
    """

    sampling: Sampling = "uniform"
    mean: float = 0.0
    std: float = 1.0
    lowest: float = 0.0
    highest: float = 1.0
    shift: float | None = None

    def __post_init__(self) -> None:
        if self.sampling not in ("uniform", "logit_normal"):
            raise InputError(f"recipe.timesteps.sampling is {self.sampling!r}; it is uniform or logit_normal")
        if not 0 <= self.lowest < self.highest <= 1:
            raise InputError("recipe.timesteps: lowest and highest are shares, 0 <= lowest < highest <= 1")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Timesteps:
        """From a section of the configuration.

        Raises:
            InputError: it names an unknown setting.
        """
        try:
            return cls(**(given or {}))
        except TypeError as error:
            raise InputError(f"recipe.timesteps: {str(error).split('__init__() ')[-1]}") from error

    def levels(self, count: int, device: torch.device) -> Tensor:
        """(count,) levels in [0, 1)."""
        if self.sampling == "uniform":
            drawn = torch.rand(count, device=device)
        else:
            drawn = torch.sigmoid(self.mean + self.std * torch.randn(count, device=device))
        return self.lowest + (self.highest - self.lowest) * drawn


@dataclass(frozen=True)
class Question:
    """What the denoiser sees and what it should say.

    Attributes:
        sample: (B, C, h, w) noised latents. times: (B,) timesteps of a diffusion model, shares of noise of a flow.
        target: (B, C, h, w). weight: (B,) of the samples' errors, or None.
    """

    sample: Tensor
    times: Tensor
    target: Tensor
    weight: Tensor | None = None


class Diffusion:
    """Training of Stable Diffusion's kind, on the base's own noise schedule.

    Args:
        base: the pipeline.
        timesteps: which noise levels.
        snr_gamma: min-SNR weights; None weighs all levels alike.
        noise_offset: of the noise's mean by channel, for very dark and bright pictures.
    """

    def __init__(self, base: Base, timesteps: Timesteps, snr_gamma: float | None, noise_offset: float) -> None:
        self.scheduler = DDPMScheduler.from_config(base.scheduler.config)
        self.timesteps, self.snr_gamma, self.noise_offset = timesteps, snr_gamma, noise_offset
        self.with_sizes = base.family == "sdxl"

    def ask(self, latents: Tensor) -> Question:
        """Noise the latents (B, C, h, w)."""
        noise = torch.randn_like(latents)
        if self.noise_offset:
            noise = noise + self.noise_offset * torch.randn(*latents.shape[:2], 1, 1).to(latents)
        steps = self.scheduler.config.num_train_timesteps
        times = (self.timesteps.levels(len(latents), latents.device) * steps).long().clamp(max=steps - 1)
        target = losses.target_of(self.scheduler, latents, noise, times)
        weight = None if self.snr_gamma is None else losses.snr_weight(self.scheduler, times, self.snr_gamma)
        return Question(self.scheduler.add_noise(latents, noise, times), times, target, weight)

    def answer(self, unet: nn.Module, asked: Question, said: Conditioning, time_ids: Tensor) -> Tensor:
        """What the network predicts."""
        extra = {"text_embeds": said.pooled, "time_ids": time_ids.to(said.embeds)} if self.with_sizes else None
        # Latents are drawn and noised in float32; the network takes them in its own type, as it takes the prompt.
        sample = asked.sample.to(said.embeds.dtype)
        return unet(sample, asked.times, said.embeds, added_cond_kwargs=extra).sample


class Flow:
    """Training of rectified flows (SD3, Flux, Qwen-Image, Z-Image): the velocity from the picture to the noise.

    Args:
        base: the pipeline.
        timesteps: which levels; its `shift` moves them as the base's scheduler does.
        guidance: what a network that was distilled on guidance (Flux) is told of it.
    """

    def __init__(self, base: Base, timesteps: Timesteps, guidance: float = 1.0) -> None:
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_config(base.scheduler.config)
        self.timesteps, self.guidance, self.family = timesteps, guidance, base.family
        shift = timesteps.shift if timesteps.shift is not None else self.scheduler.config.shift
        self.shift = float(shift or 1.0)

    def ask(self, latents: Tensor) -> Question:
        """Noise the latents (B, C, h, w)."""
        noise = torch.randn_like(latents)
        levels = self.timesteps.levels(len(latents), latents.device)
        levels = self.shift * levels / (1 + (self.shift - 1) * levels)
        share = levels.view(-1, 1, 1, 1).to(latents.dtype)
        return Question((1 - share) * latents + share * noise, levels, noise - latents)

    def answer(self, transformer: nn.Module, asked: Question, said: Conditioning, time_ids: Tensor) -> Tensor:
        """What the network predicts."""
        sample = asked.sample.to(said.embeds.dtype)
        return velocity(self.family, transformer, sample, asked.times, said, self.guidance)


Denoising = Diffusion | Flow


def denoising_of(
    base: Base, timesteps: Timesteps, *, snr_gamma: float | None = None, noise_offset: float = 0.0
) -> Denoising:
    """How a base is trained.

    Raises:
        InputError: an option of diffusion models is asked of a rectified flow.
    """
    if base.component == "unet":
        return Diffusion(base, timesteps, snr_gamma, noise_offset)
    if snr_gamma is not None or noise_offset:
        raise InputError(f"recipe.snr_gamma and recipe.noise_offset belong to diffusion; {base.family} is a flow")
    return Flow(base, timesteps)
