"""Sampling of Mustango's latents: ancestral steps, guided by text, beats and chords."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from domains.music.model.mustango import Condition

Denoiser = Callable[[Tensor, Tensor, Condition, Condition, Condition], Tensor]


@torch.inference_mode()
def sample(
    unet: Denoiser,
    schedule: DDPMScheduler,
    conditional: Sequence[Condition],
    unconditional: Sequence[Condition],
    shape: tuple[int, int, int],
    *,
    seeds: Sequence[int],
    steps: int = 100,
    guidance: float = 3.0,
    told: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Latents (B, *shape), each row's of its own seed, whatever is beside it.

    Args:
        conditional: text, beats and chords of the prompts. unconditional: of the empty prompt, padded to the same
            lengths: T5's states of the empty text, not zeros, and no beats and chords.
        steps: of DDPM. guidance: 1 needs no unconditional half.
    """
    device = conditional[0].states.device
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

    rows = [torch.randn(shape, generator=generator, device="cpu") for generator in generators]
    schedule.set_timesteps(steps, device=device)
    # Unconditional first, as in the original: the halves are told apart by their place.
    pairs = zip(unconditional, conditional, strict=True)
    conditions = conditional if guidance == 1 else [_both(empty, full) for empty, full in pairs]
    latents = torch.stack(rows).to(device) * schedule.init_noise_sigma
    for number, step in enumerate(schedule.timesteps):
        given = torch.cat([latents, latents]) if guidance != 1 else latents
        predicted = unet(given.to(conditional[0].states.dtype), step, *conditions).float()
        if guidance != 1:
            without, towards = predicted.chunk(2)
            predicted = without + guidance * (towards - without)
        latents = schedule.step(predicted, step, latents, generator=list(generators)).prev_sample
        told(number + 1)
    return latents


def _both(one: Condition, other: Condition) -> Condition:
    """Two halves of a batch."""
    return Condition(torch.cat([one.states, other.states]), torch.cat([one.mask, other.mask]))
