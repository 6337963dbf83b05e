"""Clipping the gradients by their norm, for every optimiser and precision.

Lightning refuses to clip for optimisers that divide gradients by the loss's scale themselves, which are all fused ones:
their gradients would still be scaled when they are clipped. Here such gradients are divided beforehand, once, which
torch's scaler allows: a fused optimiser then finds them as they are, and still skips a step whose gradients overflowed.
"""

from __future__ import annotations

import lightning as L
import torch
from torch.optim import Optimizer


class Unscaled(L.Callback):
    """Divides the gradients by the scale of the loss before any other hook sees them, where Lightning leaves that out.

    It stands first among a run's callbacks: what normalises, measures or clips gradients after it sees their true size.
    """

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # Lightning has done it for all other optimisers, and torch refuses to do it twice.
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)


def clip_by_norm(optimizer: Optimizer, largest: float | None) -> None:
    """Scale the gradients of all parameters of `optimizer` down to a global norm of at most `largest`.

    Every rank holds the whole of what trains, and its reduced gradients, so that each finds the same norm by itself.
    An infinite norm makes the gradients zero or NaN: with a scaler the step is skipped anyway.

    Args:
        optimizer: whose gradients; they are not scaled any more, and are normalised.
        largest: None or 0 clips nothing.
    """
    if not largest:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, largest)
