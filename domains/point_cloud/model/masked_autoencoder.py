"""Masked pre-training of Point-MAE: encode the visible patches, rebuild the hidden ones (arXiv 2203.06604, section 3).

Module names are those of the released pre-training checkpoint, so its encoder loads into every backbone here.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from domains.point_cloud.model import geometry
from domains.point_cloud.model.layers import BackboneConfig, Block, Blocks, PatchEncoder, drop_path_rates, position_mlp


class MaskedEncoder(nn.Module):
    """Patch encoder, positions, blocks and norm; during pre-training it sees visible tokens only."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.encoder = PatchEncoder(config.encoder_dims, narrow=config.encoder_width)
        self.pos_embed = position_mlp(config.trans_dim)
        self.blocks = Blocks(config)
        self.norm = nn.LayerNorm(config.trans_dim)

    def forward(self, patches: Tensor, centers: Tensor) -> Tensor:
        """(B, G, M, 3) and (B, G, 3) to (B, G, C)."""
        return self.norm(self.blocks(self.encoder(patches), self.pos_embed(centers)))


class MaskedDecoder(nn.Module):
    def __init__(self, config: BackboneConfig, depth: int, heads: int) -> None:
        super().__init__()
        rates = drop_path_rates(config.drop_path_rate, depth)
        self.blocks = nn.ModuleList(Block(config.trans_dim, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.trans_dim)

    def forward(self, x: Tensor, position: Tensor, hidden: int) -> Tensor:
        for block in self.blocks:
            x = block(x + position)
        return self.norm(x[:, -hidden:])


class PointMAE(nn.Module):
    """Masked autoencoder, (B, N, 3) to the chamfer-L2 loss of the hidden patches.

    Args:
        mask_ratio: share of patches hidden, `int(mask_ratio * G)` of each cloud, drawn at random.
    """

    def __init__(
        self, config: BackboneConfig, mask_ratio: float = 0.6, decoder_depth: int = 4, decoder_heads: int = 6
    ) -> None:
        super().__init__()
        self.config = config
        self.hidden = int(mask_ratio * config.num_group)
        self.MAE_encoder = MaskedEncoder(config)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.trans_dim))
        self.decoder_pos_embed = position_mlp(config.trans_dim)
        self.MAE_decoder = MaskedDecoder(config, decoder_depth, decoder_heads)
        self.increase_dim = nn.Sequential(nn.Conv1d(config.trans_dim, 3 * config.group_size, 1))
        trunc_normal_(self.mask_token, std=0.02)
        self.MAE_encoder.apply(_initialise_encoder)
        self.MAE_decoder.apply(_initialise_decoder)

    def reconstruct(
        self, patches: Tensor, centers: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rebuild hidden patches.

        Returns:
            The rebuilt neighbourhoods (B, hidden, M, 3), relative to their centres, and the indices of the hidden
            patches (B, hidden).
        """
        batch, groups, size, _ = patches.shape
        order = torch.rand(batch, groups, generator=generator, device=patches.device).argsort(1)
        visible, hidden = order[:, self.hidden :].sort(1).values, order[:, : self.hidden].sort(1).values
        seen = geometry.gather(centers, visible)
        x = self.MAE_encoder(geometry.gather(patches, visible), seen)
        place = self.decoder_pos_embed(torch.cat([seen, geometry.gather(centers, hidden)], 1))
        x = self.MAE_decoder(torch.cat([x, self.mask_token.expand(batch, self.hidden, -1)], 1), place, self.hidden)
        rebuilt = self.increase_dim(x.transpose(1, 2)).transpose(1, 2)
        return rebuilt.reshape(batch, self.hidden, size, 3), hidden

    def forward(self, points: Tensor, generator: torch.Generator | None = None) -> Tensor:
        patches, centers = geometry.group(points, self.config.num_group, self.config.group_size)
        rebuilt, hidden = self.reconstruct(patches, centers, generator)
        target = geometry.gather(patches, hidden)
        return geometry.chamfer(rebuilt.flatten(0, 1), target.flatten(0, 1))


def _initialise_encoder(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv1d)):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _initialise_decoder(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
