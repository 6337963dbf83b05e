"""The Point-MAE family in plain torch: patch encoders, blocks, classifiers, part segmentation, masked pre-training.

Module names are those of the released code, so that its checkpoints load key by key. Shapes: B clouds, N points,
G patches (tokens) of M points, width C.

Sources: Point-MAE (arXiv 2203.06604), PointGPT (arXiv 2305.11487), as PointGST (arXiv 2410.08114) uses them.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from domains.point_cloud.model import geometry
from domains.point_cloud.model.layers import BackboneConfig, Blocks, PatchEncoder, classification_head, position_mlp


class PointTransformer(nn.Module):
    """Point-MAE's classifier (ACT and ReCon share it), (B, N, 3) to (B, classes).

    `tokenize`, `encode` and `classify` are the three steps of `forward`, apart so that side information of the centres
    can be handed to adapters between them.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trans_dim
        self.encoder = PatchEncoder(config.encoder_dims, narrow=config.encoder_width, channels=config.channels)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = position_mlp(width)
        self.blocks = Blocks(config)
        self.norm = nn.LayerNorm(width)
        self.cls_head_finetune = classification_head(2 * width, config.cls_dim)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.cls_pos, std=0.02)

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbourhoods (B, G, M, 3) and centres (B, G, 3) of points (B, N, 3)."""
        return geometry.group(points, self.config.num_group, self.config.group_size)

    def tokenize(self, patches: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and positions, both (B, 1+G, C), the class token first."""
        batch = patches.shape[0]
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), self.encoder(patches)], 1)
        position = torch.cat([self.cls_pos.expand(batch, -1, -1), self.pos_embed(centers)], 1)
        return tokens, position

    def features(self, tokens: Tensor, position: Tensor) -> Tensor:
        """The class token beside the maximum over patches, (B, 2C)."""
        x = self.norm(self.blocks(tokens, position))
        return torch.cat([x[:, 0], x[:, 1:].max(1).values], -1)

    def summary(self, patches: Tensor, centers: Tensor) -> Tensor:
        """A cloud's feature without the class token, the maximum over its patches' tokens, (B, C)."""
        return self.norm(self.blocks(self.encoder(patches), self.pos_embed(centers))).max(1).values

    def forward(self, points: Tensor, groups: tuple[Tensor, Tensor] | None = None) -> Tensor:
        patches, centers = groups or self.group(points)
        return self.cls_head_finetune(self.features(*self.tokenize(patches, centers)))
