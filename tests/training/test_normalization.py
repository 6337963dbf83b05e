"""An accumulated step is the mean over its tokens, wherever they lie in it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from suite.training.normalization import GlobalMean


@pytest.mark.parametrize("weights", [(0, 0, 3, 2), (4, 0, 1, 0), (0, 0, 0, 0)])
def test_batches_without_a_target_count_nothing(weights: tuple[int, ...]) -> None:
    parameter = torch.ones((), requires_grad=True)
    slopes = (5.0, 7.0, 1.0, 2.0)
    mean, trainer = GlobalMean(), SimpleNamespace(world_size=1, accumulate_grad_batches=len(weights))
    optimizer = torch.optim.SGD([parameter])
    for _ in range(2):  # nothing is left over for the next step
        optimizer.zero_grad()
        for slope, weight in zip(slopes, weights, strict=True):
            scaled = mean.scaled(trainer, slope * parameter, torch.tensor(weight, dtype=torch.float64))
            (scaled / len(weights)).backward()
        mean.on_before_optimizer_step(trainer, None, optimizer)
        wanted = sum(s * w for s, w in zip(slopes, weights, strict=True)) / max(1, sum(weights))
        assert parameter.grad.item() == pytest.approx(wanted)
