"""Point-PEFT's memory of the training clouds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.errors import InputError


class PointPrior:
    """Point-PEFT's memory: features of the training clouds, searched without training.

    Args:
        bank: (C, M), one normalised column a training cloud.
        prompts: how many prompts the adapter has.
    """

    def __init__(self, bank: Tensor, prompts: int = 10) -> None:
        if bank.shape[1] < prompts - 2:
            raise InputError(f"the bank holds {bank.shape[1]} clouds and {prompts - 2} neighbours are asked for")
        self.bank, self.prompts = bank, prompts

    def prompt(self, feature: Tensor) -> Tensor:
        """(B, C) to (B, prompts, C): the feature, the weighted mean of its nearest clouds, and those themselves."""
        scores = nn.functional.normalize(feature, dim=-1) @ self.bank.to(feature.dtype)
        nearest = scores.topk(self.prompts - 2, dim=-1)
        found = self.bank.T.to(feature.dtype)[nearest.indices]
        mean = nearest.values.softmax(-1)[:, None] @ found
        return torch.cat([feature[:, None], mean, found], 1)


def prior_of(model: nn.Module, bank: Tensor) -> PointPrior:
    """The prior of a model with Point-PEFT on it, for as many prompts as its adapter has."""
    settings = (getattr(module, "settings", None) or {} for module in model.modules())
    prompts = [config.prompts for own in settings for config in own.values() if getattr(config, "prior", False)]
    return PointPrior(bank, prompts[-1])
