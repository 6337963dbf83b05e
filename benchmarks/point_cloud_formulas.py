"""PointGST on Point-MAE, written down straight from the published formulas: what `point_cloud.py` compares with.

It reads the parameters of one of our models and computes the same logits, operation by operation: convolutions of
width 1, concatenation of the patch's feature with every point, attention as softmax(q k^T) v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.adapters.methods.additive.point_cloud.pcsa import SpectralAdapter, Spectrum, spectrum


def sample(points: Tensor, count: int) -> Tensor:
    """Farthest points (B, count) of clouds (B, N, 3), as indices, by the usual loop: each step compares with the last
    point alone and keeps the smallest distances."""
    batch = len(points)
    rows = torch.arange(batch)
    allowed = points.square().sum(-1) > 1e-3
    distance = torch.where(allowed, 1e10, -1.0)
    chosen = torch.zeros(batch, count, dtype=torch.long)
    for step in range(1, count):
        last = points[rows, chosen[:, step - 1]][:, None]
        distance = torch.minimum(distance, (points - last).square().sum(-1))
        chosen[:, step] = distance.argmax(-1)
    return chosen


def group(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Patches (B, G, M, 3) and centres (B, G, 3): the usual loop, all distances at once, the smallest of them."""
    rows = torch.arange(len(points))[:, None]
    centers = points[rows, sample(points, groups)]
    index = torch.cdist(centers, points, compute_mode="donot_use_mm_for_euclid_dist").topk(size, largest=False).indices
    return points[rows[..., None], index] - centers[:, :, None], centers


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
