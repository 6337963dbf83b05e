"""The loss as the mean over all tokens or samples of an optimiser step, however they are cut into batches and ranks."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer


class GlobalMean(L.Callback):
    """Weighs every batch by its tokens or samples across gradient accumulation and ranks.

    With w the weight of a rank's batch, m the sum of w over the ranks, m_1 the step's first that is not 0, k the
    batches that accumulate and W the ranks: a batch's loss is scaled by w * W / m_1, Lightning divides by k and its
    strategy averages over the ranks, and before the optimiser step the gradients are multiplied by k * m_1 / sum(m).
    What remains is sum(w * loss) / sum(w), at a magnitude that half precision can hold all along.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._sum: Tensor | None = None

    def scaled(self, trainer: L.Trainer, loss: Tensor, weight: Tensor) -> Tensor:
        """The loss to run backward from."""
        if trainer.world_size == 1 and trainer.accumulate_grad_batches == 1:
            return loss
        weight = weight.detach()
        everywhere = trainer.strategy.reduce(weight.clone(), reduce_op="sum") if trainer.world_size > 1 else weight
        if self._first is None or self._sum is None:
            self._first, self._sum = everywhere, everywhere
        else:
            # As long as no batch had a target, every loss was scaled by 0: the next may set the scale.
            self._first = torch.where(self._first > 0, self._first, everywhere)
            self._sum = self._sum + everywhere
        return loss * (weight * trainer.world_size / _or_one(self._first)).to(loss.dtype)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if self._first is None or self._sum is None:
            return
        factor = trainer.accumulate_grad_batches * self._first / _or_one(self._sum)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self._first = self._sum = None


def _or_one(weight: Tensor) -> Tensor:
    """1 instead of 0, without asking the device which it is."""
    return torch.where(weight > 0, weight, torch.ones_like(weight))
