"""Pre-training of the small DINOv2: what is under the patches that are not shown.

Masked prediction (SimMIM, Xie et al., arXiv 2111.09886) on still scenes of the made world, whose kinds of figures no
sequence has. Half of the pictures are two views of one scene side by side, moved, scaled and coloured apart: what is
hidden in one is then to be found in the other (CroCo, Weinzaepfel et al., arXiv 2210.10716). Nothing moves, and nothing
is followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from domains.tracking.data import world
from domains.tracking.data.crops import normalised
from suite.training.plain import Schedule, train

SCHEDULE = Schedule(steps=500, batch=48, lr=2e-3, warmup=50, decay=0.02, betas=(0.9, 0.98))
SCENES, VIEWS = 600, 6
"""Scenes, and pictures cut out of each, half of them two views side by side."""
SIDE, PATCH, WIDTH, DEPTH, HEADS = 140, 14, 64, 4, 2
HIDDEN = 0.6
"""Share of the patches that are not shown."""
SMALL = 0.1
"""How large embeddings of patches and places are at first."""
POOLED = 7
"""Pixels of a side of a patch, as it is to be predicted."""


def views(number: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures (SIDE, SIDE, 3) of one still scene."""
    scene, rng = Image.fromarray(world.still(number)), np.random.default_rng([1, number])
    for view in range(VIEWS):
        if view % 2:
            left, right = (_view(scene, rng, SIDE // 2, SIDE) for _ in range(2))
            yield np.concatenate([left, right], 1)
        else:
            yield _view(scene, rng, SIDE, SIDE)


def _view(scene: Image.Image, rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """A part of a scene, coloured anew."""
    scale = rng.uniform(0.6, 1.15)
    w, h = (min(size, side / scale) for size, side in zip(scene.size, (width, height), strict=True))
    left, top = rng.uniform(0, scene.width - w), rng.uniform(0, scene.height - h)
    cut = scene.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        cut = kind(cut).enhance(rng.uniform(0.75, 1.25))
    return np.asarray(cut)


def pictures(scenes: int = SCENES) -> Tensor:
    """All pictures, (scenes * VIEWS, 3, SIDE, SIDE), uint8."""
    found = [view for number in range(scenes) for view in views(number)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


def new(seed: int = 0) -> Dinov2Model:
    """The untrained transformer: pictures of 140 pixels in patches of 14 through four blocks."""
    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        layerscale_value=0.5,
    )
    vit = Dinov2Model(config)
    # As they are drawn, patches would be a hundred times as large as places, which no step of minutes makes up for; and
    # a tracker's kinds of tokens, which start as small as places do, would not be seen either.
    with torch.no_grad():
        vit.embeddings.patch_embeddings.projection.weight.mul_(SMALL)
        vit.embeddings.position_embeddings[:, 1:] = SMALL * places(SIDE // PATCH, WIDTH)
    return vit


def places(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (1, grid * grid, width), in -1 to 1."""
    rates = math.pi / grid * 2 ** torch.linspace(0, math.log2(grid), width // 4)  # (width / 4,)
    waves = torch.arange(grid)[:, None] * rates
    line = torch.cat([waves.sin(), waves.cos()], 1)  # (grid, width / 2)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], -1).reshape(1, grid * grid, width)


class Answers(nn.Module):
    """The transformer with the layer that predicts patches, which is thrown away."""

    def __init__(self, vit: Dinov2Model) -> None:
        super().__init__()
        self.vit = vit
        self.predict = nn.Linear(vit.config.hidden_size, 3 * POOLED * POOLED)

    def loss(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """Mean difference of what is predicted of hidden patches.

        Args:
            shown: (batch, 3, SIDE, SIDE), normalised. hidden: (batch, patches), bool.
        """
        tokens = self.vit(shown, bool_masked_pos=hidden).last_hidden_state[:, 1:]  # (batch, patches, width)
        pooled = functional.avg_pool2d(shown, PATCH // POOLED)
        patches = functional.unfold(pooled, POOLED, stride=POOLED).transpose(1, 2)  # (batch, patches, 3 * POOLED²)
        return functional.smooth_l1_loss(self.predict(tokens[hidden]), patches[hidden])


def hidden_patches(batch: int, rng: torch.Generator) -> Tensor:
    """Which patches are hidden, in squares of two by two: (batch, patches), bool."""
    grid = SIDE // PATCH
    coarse = torch.rand(batch, grid // 2, grid // 2, generator=rng)
    order = coarse.flatten(1).argsort(1).argsort(1)
    hidden = (order < round(HIDDEN * order.shape[1])).view_as(coarse)
    return hidden.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)


def pretrain(pool: Tensor, vit: Dinov2Model, schedule: Schedule = SCHEDULE) -> Dinov2Model:
    """Train the transformer, which comes back in evaluation mode."""
    rng = torch.Generator().manual_seed(schedule.seed)
    model = Answers(vit)

    def loss() -> Tensor:
        chosen = torch.randint(len(pool), (schedule.batch,), generator=rng)
        shown = normalised(pool[chosen])
        flipped = torch.rand(len(shown), generator=rng) < 0.5
        shown = torch.where(flipped[:, None, None, None], shown.flip(-1), shown)
        return model.loss(shown, hidden_patches(len(shown), rng))

    model.train()
    train("base", model, loss, schedule)
    return vit.eval()
