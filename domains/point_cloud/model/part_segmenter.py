"""Point-MAE's part-segmentation network: features of three depths, propagated to every point (Point-MAE, section 4.2).

Module names are those of the released code. Shapes: B clouds, N points, G patches, width C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from domains.point_cloud.model import geometry
from domains.point_cloud.model.layers import BackboneConfig, Blocks, PatchEncoder, Pointwise, on_points, position_mlp
from suite.errors import InputError


@dataclass(frozen=True)
class SegmentationConfig:
    """Shape of the segmentation head.

    Attributes:
        fetch: blocks (0-based) whose outputs are used. propagation, head: widths of its two parts.
        categories: shape categories given as a one-hot vector (0: no such input, as for scenes).
    """

    parts: int = 50
    categories: int = 16
    fetch: tuple[int, ...] = (3, 7, 11)
    propagation: tuple[int, int] = (1536, 1024)
    head: tuple[int, int] = (512, 256)


class Propagation(nn.Module):
    """Features from centres to points by inverse distance to the three nearest, then a shared MLP."""

    def __init__(self, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.mlp_convs = nn.ModuleList()
        self.mlp_bns = nn.ModuleList()
        for inside, outside in zip((width, *hidden[:-1]), hidden, strict=True):
            self.mlp_convs.append(Pointwise(inside, outside, 1))
            self.mlp_bns.append(nn.BatchNorm1d(outside))

    def forward(self, points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
        """(B, N, 3), (B, G, 3), (B, G, F) to (B, N, hidden[-1])."""
        batch, count, _ = points.shape
        first = self.mlp_convs[0]
        if isinstance(first, Pointwise):
            # Weights of an interpolation sum to one: it commutes with the product, which is smaller on centres.
            def spread(weight: Tensor) -> Tensor:
                return geometry.interpolate(points, centers, functional.linear(features, weight)).flatten(0, 1)

            x = first(points.flatten(0, 1), rest=spread)
        else:
            x = torch.cat([points, geometry.interpolate(points, centers, features)], -1).flatten(0, 1)
            x = on_points(first, x)
        x = functional.relu(self.mlp_bns[0](x))
        for convolution, norm in zip(self.mlp_convs[1:], self.mlp_bns[1:], strict=True):
            x = functional.relu(norm(on_points(convolution, x)))
        return x.view(batch, count, -1)


class PartSegmenter(nn.Module):
    """(B, N, 3) and a category one-hot (B, categories) to log-probabilities of parts (B, N, parts).

    No class token: all tokens are patches. Without categories the same decoder serves scenes (S3DIS-like data).
    """

    def __init__(self, config: BackboneConfig, head: SegmentationConfig | None = None) -> None:
        super().__init__()
        head = head or SegmentationConfig()
        self.config, self.head_config = config, head
        if not head.fetch or not all(0 <= number < config.depth for number in head.fetch):
            wanted = ", ".join(map(str, head.fetch)) or "none"
            raise InputError(f"head.fetch names the blocks {wanted}, and there are 0 to {config.depth - 1}")
        width = config.trans_dim
        self.encoder = PatchEncoder(config.encoder_dims, narrow=config.encoder_width, channels=config.channels)
        self.pos_embed = position_mlp(width)
        self.blocks = Blocks(config)
        self.norm = nn.LayerNorm(width)
        label_width = 64 if head.categories else 0
        if head.categories:
            self.label_conv = nn.Sequential(
                nn.Conv1d(head.categories, label_width, 1, bias=False), nn.BatchNorm1d(label_width), nn.LeakyReLU(0.2)
            )
        deep = len(head.fetch) * width
        self.propagation_0 = Propagation(3 + deep, head.propagation)
        self.convs1 = Pointwise(head.propagation[-1] + 2 * deep + label_width, head.head[0], 1)
        self.dp1 = nn.Dropout(0.5)
        self.convs2 = Pointwise(head.head[0], head.head[1], 1)
        self.convs3 = Pointwise(head.head[1], head.parts, 1)
        self.bns1 = nn.BatchNorm1d(head.head[0])
        self.bns2 = nn.BatchNorm1d(head.head[1])

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbourhoods (B, G, M, 3) and centres (B, G, 3) of points (B, N, 3)."""
        return geometry.group(points, self.config.num_group, self.config.group_size)

    def features(self, patches: Tensor, centers: Tensor) -> Tensor:
        """Outputs of the fetched blocks, each through the final norm, side by side: (B, G, len(fetch) * C)."""
        kept = self.blocks(self.encoder(patches), self.pos_embed(centers), keep=self.head_config.fetch)
        return torch.cat([self.norm(x) for x in kept], -1)

    def decode(self, points: Tensor, centers: Tensor, features: Tensor, category: Tensor | None) -> Tensor:
        """Log-probabilities (B, N, parts) from patch features."""
        batch, count, _ = points.shape
        whole = [features.max(1).values, features.mean(1)]
        if self.head_config.categories:
            if category is None:
                raise InputError(f"this network needs the shape's category, one of {self.head_config.categories}")
            whole.append(self.label_conv(category[..., None].to(features.dtype)).squeeze(-1))
        x, spread = self.propagation_0(points, centers, features).flatten(0, 1), torch.cat(whole, 1)
        if isinstance(self.convs1, Pointwise):
            # What is the same for all points of a cloud is multiplied once a cloud.
            x = self.convs1(x, rest=lambda weight: functional.linear(spread, weight))
        else:
            x = on_points(self.convs1, torch.cat([x, spread.repeat_interleave(count, 0)], 1))
        x = self.dp1(functional.relu(self.bns1(x)))
        x = functional.relu(self.bns2(on_points(self.convs2, x)))
        return functional.log_softmax(on_points(self.convs3, x), dim=-1).view(batch, count, -1)

    def forward(
        self, points: Tensor, category: Tensor | None = None, groups: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        patches, centers = groups or self.group(points)
        return self.decode(points[..., :3], centers, self.features(patches, centers), category)
