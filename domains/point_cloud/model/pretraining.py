"""Point-MAE's masked pre-training as a procedure: from unlabelled clouds to a base (arXiv 2203.06604, section 3).

Batches are drawn anew from a pool of clouds, each cut to random points and augmented as in the published recipe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from suite.errors import InputError
from suite.training import plain


@dataclass(frozen=True)
class Schedule(plain.Schedule):
    """How long and how fast.

    Attributes:
        batch: clouds of a step. points: drawn at random from each cloud.
        mask_ratio, decoder_depth: of the masked autoencoder.
    """

    steps: int = 2000
    batch: int = 32
    warmup: int = 100
    decay: float = 0.05
    clip: float = 10.0
    points: int = 512
    mask_ratio: float = 0.6
    decoder_depth: int = 2


def pretrain(clouds: Tensor, config: BackboneConfig, schedule: Schedule) -> PointMAE:
    """A masked autoencoder trained on clouds (S, N, 3) in the unit sphere, in evaluation mode.

    Raises:
        InputError: the clouds have fewer points than a batch takes of each.
    """
    if clouds.shape[1] < schedule.points:
        raise InputError(f"clouds of {clouds.shape[1]} points, and {schedule.points} are drawn from each; lower points")
    torch.manual_seed(schedule.seed)
    model = PointMAE(config, schedule.mask_ratio, schedule.decoder_depth, config.num_heads).train()
    plain.train("chamfer", model, lambda: model(draw(clouds, schedule)), schedule)
    return model.eval()


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
