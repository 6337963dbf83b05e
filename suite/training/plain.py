"""Training without the trainer: the short loop that makes an embedded base, where adapters and runs have no part."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from suite.training.kept import Progress

Told = Callable[[int, float, float], None]
"""Told the number of steps done, the smoothed loss and the seconds spent."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps, batch: optimiser steps, and samples in each.
        lr: peak rate of AdamW, reached after `warmup` steps, then down a cosine.
        decay: weight decay of matrices. betas: of AdamW. clip: largest norm of the gradient.
    """

    steps: int
    batch: int
    lr: float = 1e-3
    warmup: int = 50
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    seed: int = 0

    def rate(self, step: int, peak: float | None = None) -> float:
        """The learning rate of a step: linear warm-up, then a cosine down to zero."""
        peak = self.lr if peak is None else peak
        if step < self.warmup:
            return peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * done))


def train(
    name: str,
    model: nn.Module,
    loss: Callable[[], Tensor],
    schedule: Schedule,
    after: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
    optimizers: Sequence[torch.optim.Optimizer] | None = None,
) -> None:
    """Steps over the schedule on what of `model` is to be trained; a line to standard error every hundred of them.

    Args:
        loss: of the next batch, which it draws itself.
        after: called after every step.
        progress: where it stands, if it is to go on after a stop.
        optimizers: each at the peak rates of its groups; AdamW as the schedule says where left out.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if optimizers is None:
        matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": schedule.decay}, {"params": others, "weight_decay": 0.0}]
        optimizers = [torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas)]

    def told(step: int, value: float, seconds: float) -> None:
        print(f"{name} {step}/{schedule.steps}  {value:.5f}  {seconds:.0f} s", file=sys.stderr, flush=True)

    def done() -> None:
        after()
        if progress is not None:
            progress.advance(model, optimizers)

    if progress is not None:
        progress.restore(model, optimizers)
    minimise(
        loss,
        optimizers,
        schedule.rate,
        schedule.steps,
        clipped=trained,
        most=schedule.clip,
        told=told,
        after=done,
        first=progress.step if progress is not None else 0,
    )


def minimise(
    loss: Callable[[], Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    rate: Callable[[int, float], float],
    steps: int,
    *,
    clipped: Iterable[nn.Parameter],
    most: float = 1.0,
    told: Told = lambda step, value, seconds: None,
    every: int = 100,
    after: Callable[[], None] = lambda: None,
    first: int = 0,
) -> None:
    """Take `steps` steps with all of the optimisers, each of whose groups has its own peak rate.

    Args:
        loss: of the next batch.
        rate: the learning rate of a step, of the peak of a group.
        clipped: parameters whose gradient is cut to the norm `most`.
        told: called every so many steps, and after the last.
        after: called after every step.
        first: steps that were taken before.
    """
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    clipped = list(clipped)
    started, shown = time.perf_counter(), 0.0
    for step in range(first, steps):
        # 1. The rates of this step.
        for optimizer, own in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = rate(step, peak)
        # 2. Forward, backward, step.
        value = loss()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(clipped, most)
        for optimizer in optimizers:
            optimizer.step()
        after()
        # 3. What people see: a mean over about twenty steps.
        shown = 0.95 * shown + 0.05 * value.item() if step > first else value.item()
        if (step + 1) % every == 0 or step + 1 == steps:
            told(step + 1, shown, time.perf_counter() - started)
