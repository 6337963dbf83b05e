"""The delay pattern of codebooks: in what order the tokens of a frame are predicted.

Copet et al., Simple and Controllable Music Generation, arXiv 2306.05284, section 2.2. Codebook k is delayed by d_k:
step 0 of the sequence is the special token alone, and step s holds frame s - 1 - d_k of codebook k. Of T frames there
are T + 1 steps to train on (the tail is cut) and T + 1 + max d to generate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def delays_of(codebooks: int, channels: int = 1) -> tuple[int, ...]:
    """MusicGen's delays: one step more for each codebook; the two channels of a stereo model side by side."""
    return tuple(book // channels for book in range(codebooks))


def pattern_mask(frames: int, delays: Sequence[int], *, full: bool = True) -> Tensor:
    """Where the pattern has tokens (K, S) and not the special token; S is T + 1, with the tail (`full`) + max d."""
    steps = torch.arange(frames + 1 + (max(delays) if full else 0))
    frame = steps[None] - 1 - torch.tensor(delays)[:, None]  # (K, S)
    return (frame >= 0) & (frame < frames)


def delayed(codes: Tensor, special: int, delays: Sequence[int], *, full: bool = False) -> Tensor:
    """The sequence (B, K, S) of codes (B, K, T), the special token where the pattern has none."""
    batch, books, frames = codes.shape
    sequence = codes.new_full((batch, books, frames + 1 + max(delays)), special)
    for book, delay in enumerate(delays):
        sequence[:, book, 1 + delay : 1 + delay + frames] = codes[:, book]
    return sequence if full else sequence[..., : frames + 1]


def undelayed(sequence: Tensor, delays: Sequence[int], frames: int) -> Tensor:
    """The codes (B, K, T) of a full sequence (B, K, at least T + 1 + max d)."""
    return torch.stack([sequence[:, book, 1 + delay : 1 + delay + frames] for book, delay in enumerate(delays)], 1)


def targets(codes: Tensor, special: int, delays: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What the first T steps of the sequence are to predict (B, K, T), and where there is something to predict.

    Labels that are not delayed train silently on a wrong task: the loss looks as it should.
    """
    sequence = delayed(codes, special, delays)[..., 1:]
    return sequence, sequence != special


def loss_mask(frames: int, delays: Sequence[int]) -> Tensor:
    """The frames (K, T) that have a prediction: all but the last d_k of codebook k, which the cut tail held."""
    return torch.arange(frames)[None] < (frames - torch.tensor(delays))[:, None]


def by_frame(values: Tensor, delays: Sequence[int]) -> Tensor:
    """Predictions by step (B, K, S, ...) as those of frames (B, K, T, ...), zero where there is none; T is S - 1."""
    frames = values.shape[2] - 1
    found = torch.zeros_like(values[:, :, :frames])
    for book, delay in enumerate(delays):
        found[:, book, : max(0, frames - delay)] = values[:, book, delay:frames]
    return found
