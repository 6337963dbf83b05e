"""The head: of every cell of the search crop a score and a box."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

STD = 0.02


class Mlp(nn.Module):
    """Three linear layers with GELU between, (..., width) to (..., out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, out)])
        for layer in self.layers:
            nn.init.trunc_normal_(layer.weight, std=STD)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = functional.gelu(layer(x))
        return self.layers[-1](x)


class AnchorFreeHead(nn.Module):
    """Scores and boxes of a square grid of cells, row by row.

    Args:
        width: of the features.
        grid: cells of a side.
        box_prior: where the four sides begin, in parts of the crop.
    """

    reference_points: Tensor

    def __init__(self, width: int, grid: int, box_prior: float = 0.5) -> None:
        super().__init__()
        self.grid = grid
        self.cls_mlp, self.reg_mlp = Mlp(width, 1), Mlp(width, 4)
        nn.init.constant_(self.reg_mlp.layers[-1].bias, math.log(box_prior / (1 - box_prior)))
        self.register_buffer("reference_points", reference_points(grid), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, grid², width) to logits (batch, grid, grid) and boxes (batch, grid, grid, 4), float32.

        Boxes are x1, y1, x2, y2 in parts of the crop, and may reach out of it.
        """
        scores = self.cls_mlp(features).float().reshape(-1, self.grid, self.grid)
        sides = (
            self.reg_mlp(features).float().sigmoid().reshape(-1, self.grid, self.grid, 4)
        )  # left, top, right, bottom
        left_top, right_bottom = sides.split(2, -1)
        return scores, torch.cat([self.reference_points - left_top, self.reference_points + right_bottom], -1)


def reference_points(grid: int) -> Tensor:
    """The centre (x, y) of each cell in parts of the crop, (grid, grid, 2)."""
    at = (torch.arange(grid, dtype=torch.float32) + 0.5) / grid
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([columns, rows], -1)
