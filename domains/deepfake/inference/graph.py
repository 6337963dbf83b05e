"""A detector as one module from pixels to probabilities, for other programs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domains.deepfake.model.forgery_classifier import ForgeryClassifier
from suite.clip.pictures import Preprocessing


class Exportable(nn.Module):
    """Pixels (batch, 3, side, side) in 0-1 to probabilities (batch, 2) of real and manipulated.

    Args:
        model: on the CPU, its adapters merged.
        temperature: that the adapter states.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: ForgeryClassifier, preprocessing: Preprocessing, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.model((pixels - self.mean) / self.std)
        return torch.softmax(logits / self.temperature, dim=1)
