"""Token by token: cached generation on the delay pattern, with guidance, from a prompt, window by window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.music.inference.recorded import steps_of
from domains.music.inference.sampling import Sampling, choose, draws
from domains.music.model import delays
from domains.music.model.musicgen import MusicGenLM
from suite.errors import InputError


@dataclass(frozen=True)
class Windows:
    """How a piece longer than the model can see is made.

    Attributes:
        length: frames of a window. stride: by how many the next one starts later.
    """

    length: int = 1500
    stride: int = 900

    def __post_init__(self) -> None:
        if not 0 < self.stride < self.length:
            raise InputError(f"windows of {self.length} frames every {self.stride}; the stride is less, and at least 1")


@torch.inference_mode()
def generate(
    model: MusicGenLM,
    states: Tensor,
    mask: Tensor,
    frames: int,
    how: Sampling,
    *,
    seeds: list[int] | None = None,
    prompt: Tensor | None = None,
    windows: Windows | None = None,
    told: Callable[[int], None] = lambda frame: None,
) -> Tensor:
    """Codes (B, K, frames), a prompt of codes (B, K, fewer) at their start included.

    Args:
        states, mask: text states (B, L, text width) and their mask (B, L).
        seeds: of every row; a row's tokens do not depend on the others.
        windows: of pieces longer than one window.
        told: called with the number of frames done.

    Raises:
        InputError: the prompt leaves nothing to generate.
    """
    batch, windows = len(states), windows or Windows()
    seeds = seeds if seeds is not None else list(range(batch))
    made = prompt if prompt is not None else states.new_zeros(batch, len(model.delays), 0, dtype=torch.long)
    if made.shape[-1] >= frames:
        raise InputError(
            f"the prompt is longer than the audio to generate ({made.shape[-1]} frames of {frames}); ask for more "
            "seconds"
        )
    number, kept = 0, windows.length - windows.stride
    while made.shape[-1] < frames:
        # The end of the piece so far is the context of a window; a prompt that fits is one as a whole.
        start = 0 if number == 0 and made.shape[-1] < windows.length else made.shape[-1] - kept
        wanted = min(frames - start, windows.length)
        own = [seed + 1_000_003 * number for seed in seeds]
        window = one_window(model, states, mask, wanted, how, own, made[..., start:])
        made = torch.cat([made[..., :start], window], -1)
        number += 1
        told(made.shape[-1])
    return made


@torch.inference_mode()
def one_window(
    model: MusicGenLM, states: Tensor, mask: Tensor, frames: int, how: Sampling, seeds: list[int], prompt: Tensor
) -> Tensor:
    """Codes (B, K, frames) of one window, the prompt (B, K, fewer or none) at their start."""
    device, known = states.device, prompt.shape[-1]
    pattern = delays.pattern_mask(frames, model.delays).to(device)  # (K, S)
    unknown = torch.full((len(states), len(model.delays), frames), -1, device=device)
    unknown[..., :known] = prompt
    sequence = delays.delayed(unknown, model.special, model.delays, full=True)  # (B, K, S); -1 is to be made
    uniform = draws(seeds, len(model.delays), sequence.shape[-1]).to(device)
    steps = steps_of(model, states, mask, how.guidance, sequence.shape[-1])
    done = 0
    for step in range(known + 1, sequence.shape[-1]):
        # 1. All steps that are new to the model: the prompt's first, then one at a time.
        logits = steps(sequence[..., done:step])  # (B, K, vocabulary)
        # 2. One token of each codebook, from the same step's heads; where the pattern has none, the special one.
        tokens = torch.where(pattern[:, step], choose(logits, uniform[step], how), model.special)
        # 3. Of a prompt that is not whole in every codebook yet, what is known stays.
        sequence[..., step] = torch.where(sequence[..., step] < 0, tokens, sequence[..., step])
        done = step
    return delays.undelayed(sequence, model.delays, frames)
