"""What a recipe's `compute` returns, and the loss that language models share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from suite.generation.chat import IGNORED


@dataclass
class Outputs:
    """One batch through a recipe.

    Attributes:
        loss: scalar, the mean over `weight` units.
        per_sample: (batch,) loss of each sample; procedures that re-weight samples need it.
        logits: predictions, in the shape that the recipe's metrics take.
        target: what `logits` should have been.
        weight: how many tokens or samples `loss` is the mean of; None is the length of `per_sample`, else 1.
            The trainer weighs batches by it across gradient accumulation and ranks: every token counts the same.
        per_token: (batch, length) where `loss` is the mean over tokens and not over samples: each target's loss, 0
            where there is none. Weights of samples then multiply their tokens.
    """

    loss: Tensor
    per_sample: Tensor | None = None
    logits: Tensor | None = None
    target: Tensor | None = None
    weight: Tensor | float | None = None
    per_token: Tensor | None = None

    def units(self) -> Tensor:
        """The weight as a scalar tensor beside the loss; float64 where the device has it, so that counts stay exact."""
        weight = self.weight
        if weight is None:
            weight = 1 if self.per_sample is None else len(self.per_sample)
        dtype = torch.float32 if self.loss.device.type == "mps" else torch.float64
        return torch.as_tensor(weight, dtype=dtype, device=self.loss.device)


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Outputs:
    """Next-token cross-entropy in float32, the mean over the tokens that are targets.

    Args:
        logits: (batch, length, vocabulary); position t predicts token t + 1.
        labels: (batch, length); -100 where a token is no target.

    Returns:
        `per_sample` is (batch,), the mean over each sample's own targets, 0 where it has none; `weight` is the number
        of targets.
    """
    target = labels[:, 1:]
    logits = logits[:, :-1]
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(), target.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(target)
    return token_means(losses, target != IGNORED)


def token_means(losses: Tensor, counted: Tensor) -> Outputs:
    """What a language model's losses amount to, every target counting the same.

    Args:
        losses: (batch, length), 0 where there is no target.
        counted: (batch, length) bool, where there is one.
    """
    count = counted.sum()
    per_sample = losses.sum(1) / counted.sum(1).clamp(min=1)
    # A batch without a single target is legal (the last, cut one): its loss is 0, never 0/0.
    return Outputs(losses.sum() / count.clamp(min=1), per_sample=per_sample, per_token=losses, weight=count)
