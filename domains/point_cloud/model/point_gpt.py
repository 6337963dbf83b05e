"""PointGPT (arXiv 2305.11487) as PointGST (arXiv 2410.08114) uses it, with the names of the released code."""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from domains.point_cloud.model import geometry
from domains.point_cloud.model.layers import BackboneConfig, PatchEncoder, classification_head


class GptBlock(nn.Module):
    """PointGPT's block, sequence first (T, B, C): the attention residual is the normalised input, as released."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.ln_1(x)
        x = x + self.attn(x, x, x, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class GptExtractor(nn.Module):
    """PointGPT's causal extractor with its class head; `increase_dim` belongs to pre-training and is carried along."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.trans_dim
        self.sos = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.sos)
        self.layers = nn.ModuleList(GptBlock(width, config.num_heads) for _ in range(config.depth))
        self.ln_f = nn.LayerNorm(width)
        self.increase_dim = nn.Sequential(nn.Conv1d(width, 3 * config.group_size, 1))
        self.cls_norm = nn.LayerNorm(width)
        self.cls_head_finetune = classification_head(2 * width, config.cls_dim)

    def features(self, tokens: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """[cls, patches] (B, 1+G, C) and positions (B, 2+G, C) to (B, 2C)."""
        x = tokens.transpose(0, 1)
        x = torch.cat([self.sos.expand(1, x.shape[1], -1), x], 0)
        place = position.transpose(0, 1)
        for layer in self.layers:
            x = layer(x + place, mask)
        x = self.cls_norm(self.ln_f(x).transpose(0, 1))
        return torch.cat([x[:, 1], x[:, 2:].max(1).values], -1)


class PointGPT(nn.Module):
    """PointGPT's classifier, (B, N, 3) to (B, classes): greedy order of patches, causal attention, sine positions."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trans_dim
        self.encoder = PatchEncoder(config.encoder_dims, width in (768, 1024), config.encoder_width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.sos_pos = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = GptExtractor(config)
        self.norm = nn.LayerNorm(width)
        for parameter in (self.cls_token, self.cls_pos, self.sos_pos):
            trunc_normal_(parameter, std=0.02)

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbourhoods (B, G, M, 3) and centres (B, G, 3) in greedy nearest order."""
        patches, centers = geometry.group(points, self.config.num_group, self.config.group_size)
        order = geometry.greedy_order(centers)
        return geometry.gather(patches, order), geometry.gather(centers, order)

    def tokenize(self, patches: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [cls, patches] (B, 1+G, C); positions [cls, sos, patches] (B, 2+G, C).

        The first two positions stand the other way round than their tokens, as in the released model.
        """
        batch = patches.shape[0]
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), self.encoder(patches)], 1)
        place = geometry.sine_position(centers, self.config.trans_dim)
        return tokens, torch.cat([self.cls_pos.expand(batch, -1, -1), self.sos_pos.expand(batch, -1, -1), place], 1)

    def features(self, tokens: Tensor, position: Tensor) -> Tensor:
        count = position.shape[1]
        mask = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
        return self.blocks.features(tokens, position, mask)

    def forward(self, points: Tensor, groups: tuple[Tensor, Tensor] | None = None) -> Tensor:
        patches, centers = groups or self.group(points)
        return self.blocks.cls_head_finetune(self.features(*self.tokenize(patches, centers)))
