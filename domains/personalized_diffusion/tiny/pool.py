"""What pre-training looks at: pictures of the made world, drawn once."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.data.world import Sprite
from domains.personalized_diffusion.tiny import networks


@dataclass(frozen=True)
class Pool:
    """Pictures (N, 3, 64, 64) in 8 bit and what they show; 2i and 2i + 1 are of one creature."""

    pixels: Tensor
    sprites: list[Sprite]

    def batch(self, rows: Tensor, flip: bool = True, side: int = world.SIZE) -> Tensor:
        """Pictures (B, 3, side, side) in [-1, 1], about half of them mirrored; squares of whole patches out of them."""
        chosen = self.pixels[rows].float() / 127.5 - 1
        if side < world.SIZE:
            corners = torch.randint((world.SIZE - side) // networks.REDUCTION + 1, (len(rows), 2)) * networks.REDUCTION
            cut = [one[:, y : y + side, x : x + side] for one, (y, x) in zip(chosen, corners.tolist(), strict=True)]
            chosen = torch.stack(cut)
        if flip:
            mirrored = torch.rand(len(rows)) < 0.5
            chosen[mirrored] = chosen[mirrored].flip(-1)
        return chosen


def draw_pool(individuals: int, seed: int = 0) -> Pool:
    """Two pictures of each of so many creatures."""
    rng = random.Random(seed)
    sprites = [world.sprite(of, rng) for of in (world.individual(rng) for _ in range(individuals)) for _ in range(2)]
    drawn = np.stack([np.asarray(world.draw(sprite)) for sprite in sprites])
    return Pool(torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous(), sprites)
