"""From a score map and boxes of its cells to one box and its confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Decoded(NamedTuple):
    """What each search crop of a batch gave."""

    boxes: Tensor  # (batch, 4), x1, y1, x2, y2 in pixels of the crop
    scores: Tensor  # (batch,), 0-1, at the box's cell, without the window
    cells: Tensor  # (batch,), row by row


def hann(side: int, device: torch.device | str = "cpu") -> Tensor:
    """A window (side, side) that is 1 in the middle and 0 at the border."""
    line = torch.hann_window(side, periodic=False, dtype=torch.float32, device=device)
    return line[:, None] * line


def decode(scores: Tensor, boxes: Tensor, size: int, penalty: float) -> Decoded:
    """The cell that scores most once it is drawn towards the middle, its box, and its own score.

    Args:
        scores: (batch, S, S), logits. boxes: (batch, S, S, 4), in parts of the crop.
        size: pixels of a side of the crop.
        penalty: weight of the Hann window, 0 to 1.

    Returns:
        In float32, whatever the model computed in.
    """
    confidence = scores.float().sigmoid().flatten(1)  # (batch, S²)
    window = hann(scores.shape[-1], scores.device).flatten()
    cells = ((1 - penalty) * confidence + penalty * window).argmax(1)  # (batch,)
    chosen = boxes.float().flatten(1, 2).gather(1, cells.view(-1, 1, 1).expand(-1, 1, 4))[:, 0]  # (batch, 4)
    return Decoded(chosen * size, confidence.gather(1, cells[:, None])[:, 0], cells)
