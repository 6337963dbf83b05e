"""From logits to tokens, a row of a batch as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        guidance: how far from the unconditional logits towards the conditional ones; 1 needs no unconditional ones.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: among so many likeliest tokens; 0 among all.
        top_p: among the likeliest that together have this probability; 0 leaves it out. Goes before `top_k`.
    """

    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 <= self.top_p <= 1:
            raise InputError(
                f"temperature {self.temperature}, top_k {self.top_k} and top_p {self.top_p}: none may be negative, and "
                "top_p is at most 1"
            )


def guided(logits: Tensor, guidance: float) -> Tensor:
    """uncond + guidance * (cond - uncond) of a batch of which the first half is conditional."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def draws(seeds: Sequence[int], codebooks: int, steps: int) -> Tensor:
    """One uniform number for every token (steps, B, K); a row's are its seed's alone, on every device the same."""
    rows = [
        torch.rand(steps, codebooks, generator=torch.Generator("cpu").manual_seed(seed), device="cpu") for seed in seeds
    ]
    return torch.stack(rows, 1)


def choose(logits: Tensor, uniform: Tensor, how: Sampling) -> Tensor:
    """Tokens (B, K) of logits (B, K, vocabulary): where the uniform number (B, K) falls among the probabilities."""
    if how.temperature == 0:
        return logits.argmax(-1)
    chances = (logits.float() / how.temperature).softmax(-1)
    among = how.top_k if how.top_k and not how.top_p else logits.shape[-1]
    chances, tokens = chances.topk(min(among, logits.shape[-1]), dim=-1)  # the likeliest first
    if how.top_p:
        # A token stays while those before it have less than the share.
        chances = chances * (chances.cumsum(-1) - chances < how.top_p)
    reached = chances.cumsum(-1)
    place = torch.searchsorted(reached, (uniform.to(reached) * reached[..., -1])[..., None], right=True)
    return tokens.gather(-1, place.clamp_max(tokens.shape[-1] - 1))[..., 0]
