"""PointGST on Point-MAE, written down straight from the published formulas: what `point_cloud.py` compares with.

It reads the parameters of one of our models and computes the same logits, operation by operation: convolutions of
width 1, concatenation of the patch's feature with every point, attention as softmax(q k^T) v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.adapters.methods.additive.point_cloud.pcsa import SpectralAdapter, Spectrum, spectrum


def sample(points: Tensor, count: int) -> Tensor:
    """Farthest points (count, 3) of one cloud (N, 3): at every step the distances to all points chosen so far."""
    chosen = [0]
    allowed = (points**2).sum(-1) > 1e-3
    for _ in range(1, count):
        distance = ((points[:, None] - points[chosen][None]) ** 2).sum(-1).min(1).values
        chosen.append(int(torch.where(allowed, distance, torch.full_like(distance, -1.0)).argmax()))
    return points[chosen]


def neighbours(points: Tensor, center: Tensor, count: int) -> Tensor:
    """The `count` nearest points (count, 3) of one centre (3,), relative to it."""
    distance = ((points - center) ** 2).sum(-1)
    return points[torch.sort(distance, stable=True).indices[:count]] - center


def group(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Patches (B, G, M, 3) and centres (B, G, 3), cloud by cloud and centre by centre."""
    centers = torch.stack([sample(cloud, groups) for cloud in points])
    patches = [
        torch.stack([neighbours(cloud, c, size) for c in own]) for cloud, own in zip(points, centers, strict=True)
    ]
    return torch.stack(patches), centers


def encode(encoder: nn.Module, patches: Tensor) -> Tensor:
    """Tokens (B, G, C) of patches (B, G, M, 3)."""
    batch, groups, size, _ = patches.shape
    features = encoder.first_conv(patches.reshape(batch * groups, size, 3).transpose(2, 1))
    whole = torch.max(features, dim=2, keepdim=True)[0]
    features = encoder.second_conv(torch.cat([whole.expand(-1, -1, size), features], dim=1))
    return torch.max(features, dim=2)[0].reshape(batch, groups, -1)


def attend(attention: nn.Module, x: Tensor) -> Tensor:
    """Multi-head attention on (B, T, C)."""
    batch, tokens, width = x.shape
    heads = attention.num_heads
    q, k, v = attention.qkv(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


def adapt(adapter: SpectralAdapter, x: Tensor, known: Spectrum) -> Tensor:
    """PCSA on the state (B, 1 + G, C) between attention and MLP."""
    down = adapter.down(x)
    patches, hidden = down[:, 1:], torch.nn.functional.silu(down)
    in_graph = known.whole @ patches
    in_graph = in_graph + torch.nn.functional.silu(adapter.adapt1(adapter.norm_ly1(in_graph)))
    out = hidden[:, 1:] + known.whole.transpose(1, 2) @ in_graph
    batch, groups, rank = patches.shape
    rows = torch.arange(batch)[:, None]
    ordered = patches[rows, known.order].reshape(known.local.shape[0], known.local.shape[1], -1, rank)
    local = known.local @ ordered
    local = local + torch.nn.functional.silu(adapter.adapt1(adapter.norm_ly2(local)))
    back = (known.local.transpose(2, 3) @ local).reshape(batch, groups, rank)
    return adapter.up(torch.cat([hidden[:, :1], out + back[rows, known.inverse]], dim=1))


def logits(model: nn.Module, points: Tensor, local: int) -> Tensor:
    """Logits (B, classes) of points (B, N, 3)."""
    config = model.config
    patches, centers = group(points, config.num_group, config.group_size)
    known = spectrum(centers, local)
    batch = points.shape[0]
    x = torch.cat([model.cls_token.expand(batch, -1, -1), encode(model.encoder, patches)], dim=1)
    place = torch.cat([model.cls_pos.expand(batch, -1, -1), model.pos_embed(centers)], dim=1)
    for block in model.blocks.blocks:
        x = x + place
        x = x + block.drop_path1(attend(block.attn, block.norm1(x)))
        adapter = next(module for module in block.modules() if isinstance(module, SpectralAdapter))
        x = (
            x
            + block.drop_path2(block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x)))))
            + adapt(adapter, x, known)
        )
    x = model.norm(x)
    return model.cls_head_finetune(torch.cat([x[:, 0], x[:, 1:].max(1)[0]], dim=-1))
