"""Point-M2AE's classifier: three scales of tokens, each merged from the neighbourhoods of the one before.

Zhang et al., Point-M2AE, arXiv 2205.14401, section 3. Tokens attend to those within a radius that doubles from scale to
scale. Module names are those under which Point-PEFT (arXiv 2310.03059) adapts it. Shapes: B clouds, G_i tokens of
width C_i at scale i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from domains.point_cloud.model import geometry
from domains.point_cloud.model.layers import Block, PatchEncoder, classification_head, drop_path_rates
from suite.errors import InputError


@dataclass(frozen=True)
class HierarchyConfig:
    """Shape of a Point-M2AE backbone, in the names of its official configuration files; one entry a scale.

    Attributes:
        num_groups, group_sizes: tokens, and points (then tokens) that each is merged from.
        encoder_dims: widths. encoder_depths: blocks. local_radius: how far a token sees.
        cls_dim: classes. drop_path_rate: at the last block, growing linearly from 0.
    """

    num_groups: tuple[int, ...] = (512, 256, 64)
    group_sizes: tuple[int, ...] = (16, 8, 8)
    encoder_dims: tuple[int, ...] = (96, 192, 384)
    encoder_depths: tuple[int, ...] = (5, 5, 5)
    local_radius: tuple[float, ...] = (0.32, 0.64, 1.28)
    num_heads: int = 6
    cls_dim: int = 40
    drop_path_rate: float = 0.1

    def __post_init__(self) -> None:
        scales = {len(getattr(self, name)) for name in _SCALED}
        if len(scales) != 1:
            raise InputError(f"Point-M2AE: {', '.join(_SCALED)} need one entry a scale each; they have {scales}")
        if any(width % self.num_heads for width in self.encoder_dims):
            raise InputError(f"encoder_dims {self.encoder_dims} must be divisible by num_heads {self.num_heads}")

    @property
    def trans_dim(self) -> int:
        """Width of the last scale."""
        return self.encoder_dims[-1]

    @property
    def num_group(self) -> int:
        """Tokens of the last scale."""
        return self.num_groups[-1]

    @property
    def least_points(self) -> int:
        """Points that a cloud must have: as many as patches, and as one patch holds."""
        return max(self.num_groups[0], self.group_sizes[0])

    def with_(self, **changes: Any) -> HierarchyConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)


_SCALED = ("num_groups", "group_sizes", "encoder_dims", "encoder_depths", "local_radius")


class Scales(NamedTuple):
    """The tokens' places and members of one batch of clouds.

    Attributes:
        patches: neighbourhoods (B, G_0, M_0, 3) of the first scale.
        centers: (B, G_i, 3) of every scale.
        members: for the scales after the first, which tokens of the one before are merged, (B, G_i, M_i) int64.
    """

    patches: Tensor
    centers: list[Tensor]
    members: list[Tensor]


class Stage(nn.Module):
    """The blocks of one scale; the position is added again before each."""

    def __init__(self, width: int, heads: int, rates: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in rates)

    def forward(self, x: Tensor, position: Tensor, hidden: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x + position, hidden)
        return x


class PointM2AE(nn.Module):
    """(B, N, 3) to (B, classes); the head sees mean and maximum over the last scale's tokens. No class token."""

    def __init__(self, config: HierarchyConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.encoder_dims
        rates = drop_path_rates(config.drop_path_rate, sum(config.encoder_depths))
        self.encoders, self.pos_embeds, self.blocks = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for before, width, depth in zip((0, *widths[:-1]), widths, config.encoder_depths, strict=True):
            self.encoders.append(PatchEncoder(width, merged=before))
            self.pos_embeds.append(nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width)))
            self.blocks.append(Stage(width, config.num_heads, rates[:depth]))
            rates = rates[depth:]
        self.norm = nn.LayerNorm(config.trans_dim)
        self.cls_head_finetune = classification_head(2 * config.trans_dim, config.cls_dim)

    @torch.no_grad()
    def group(self, points: Tensor) -> tuple[Scales, Tensor]:
        """The scales of points (B, N, 3), each found among the centres of the one before; the last one's centres."""
        sizes = zip(self.config.num_groups, self.config.group_sizes, strict=True)
        patches, center = geometry.group(points, *next(sizes))
        scales = Scales(patches, [center], [])
        for groups, size in sizes:
            finer = scales.centers[-1]
            scales.centers.append(geometry.gather(finer, geometry.farthest_point_sample(finer, groups)))
            scales.members.append(geometry.nearest_neighbours(scales.centers[-1], finer, size)[1])
        return scales, scales.centers[-1]

    def tokens(self, scales: Scales) -> Tensor:
        """The normed tokens (B, G, C) of the last scale."""
        x = scales.patches
        for index, (center, radius) in enumerate(zip(scales.centers, self.config.local_radius, strict=True)):
            merged = x if index == 0 else geometry.gather(x, scales.members[index - 1])
            hidden = geometry.square_distance(center, center).sqrt() >= radius
            x = self.blocks[index](self.encoders[index](merged), self.pos_embeds[index](center), hidden)
        return self.norm(x)

    def features(self, scales: Scales) -> Tensor:
        """The mean beside the maximum over tokens, (B, 2C)."""
        x = self.tokens(scales)
        return torch.cat([x.mean(1), x.max(1).values], -1)

    def summary(self, scales: Scales, _centers: Tensor) -> Tensor:
        """A cloud's feature for Point-PEFT's memory, mean plus maximum over its tokens, (B, C)."""
        x = self.tokens(scales)
        return x.mean(1) + x.max(1).values

    def forward(self, points: Tensor, groups: tuple[Scales, Tensor] | None = None) -> Tensor:
        scales, _ = groups or self.group(points)
        return self.cls_head_finetune(self.features(scales))
