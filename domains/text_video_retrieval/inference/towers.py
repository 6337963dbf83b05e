"""The two towers as functions of one tensor, for export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class VideoTower(nn.Module):
    """Normalised pictures (V, N, 3, side, side) to vectors (V, dim) of length 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return functional.normalize(self.model.encode_video(frames), dim=-1)


class TextTower(nn.Module):
    """Token ids (T, L), 0 after the end marker, to vectors (T, dim) of length 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        ends = tokens.argmax(-1, keepdim=True)
        mask = (torch.arange(tokens.shape[1], device=tokens.device) <= ends).long()
        return functional.normalize(self.model.encode_text(tokens, mask), dim=-1)
