"""The learning-rate schedule of the published recipes (Point-MAE's, shared by PointGST and Point-PEFT)."""

from __future__ import annotations

import math


def learning_rate(
    epoch: int, base: float, epochs: int = 300, warmup: int = 10, floor: float = 1e-6, start: float = 1e-6
) -> float:
    """The rate used in `epoch` (0-based) of the published recipe: linear warm-up, cosine, stepped after each epoch.

    The released loop sets the rate of epoch e from e - 1, so epochs 0 and 1 both run at `start`.
    """
    step = max(0, epoch - 1)
    if step < warmup:
        return start + step * (base - start) / warmup
    return floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * min(step, epochs) / epochs))
