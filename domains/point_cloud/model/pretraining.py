"""Point-MAE's masked pre-training as a procedure: from unlabelled clouds to a base (arXiv 2203.06604, section 3).

Batches are drawn anew from a pool of clouds, each cut to random points and augmented as in the published recipe.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from suite.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps, batch: optimiser steps and clouds in each. points: drawn at random from each cloud.
        lr: peak rate of AdamW, reached after `warmup` steps, then down a cosine. decay: weight decay of matrices.
        mask_ratio, decoder_depth: of the masked autoencoder.
    """

    steps: int = 2000
    batch: int = 32
    points: int = 512
    lr: float = 1e-3
    warmup: int = 100
    decay: float = 0.05
    mask_ratio: float = 0.6
    decoder_depth: int = 2
    seed: int = 0


def pretrain(clouds: Tensor, config: BackboneConfig, schedule: Schedule) -> PointMAE:
    """A masked autoencoder trained on clouds (S, N, 3) in the unit sphere, in evaluation mode.

    Raises:
        InputError: the clouds have fewer points than a batch takes of each.
    """
    if clouds.shape[1] < schedule.points:
        raise InputError(f"clouds of {clouds.shape[1]} points, and {schedule.points} are drawn from each; lower points")
    torch.manual_seed(schedule.seed)
    model = PointMAE(config, schedule.mask_ratio, schedule.decoder_depth, config.num_heads).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": schedule.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr)
    started, shown = time.perf_counter(), 0.0
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, schedule)
        loss = model(draw(clouds, schedule))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        shown = 0.98 * shown + 0.02 * loss.item() if step else loss.item()
        if (step + 1) % 100 == 0:
            line = f"step {step + 1}/{schedule.steps}  chamfer {shown:.5f}  {time.perf_counter() - started:.0f} s"
            print(line, file=sys.stderr, flush=True)
    return model.eval()


def rate(step: int, schedule: Schedule) -> float:
    """The learning rate of a step: linear warm-up, then a cosine down to zero."""
    if step < schedule.warmup:
        return schedule.lr * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * done))


def draw(clouds: Tensor, schedule: Schedule) -> Tensor:
    """A batch (batch, points, 3): random clouds, random points of each, turned about y, scaled and shifted."""
    count, available, _ = clouds.shape
    chosen = torch.randint(count, (schedule.batch,))
    points = torch.rand(schedule.batch, available).topk(schedule.points).indices
    batch = clouds[chosen].gather(1, points[..., None].expand(-1, -1, 3))
    angle = 2 * math.pi * torch.rand(schedule.batch)
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([c, zero, s, zero, one, zero, -s, zero, c], -1).view(-1, 3, 3)
    scale = torch.empty(schedule.batch, 1, 3).uniform_(2 / 3, 3 / 2)
    shift = torch.empty(schedule.batch, 1, 3).uniform_(-0.2, 0.2)
    return batch @ turn * scale + shift
