"""What the networks of the Point-MAE family are made of: patch encoders, attention, blocks, heads.

Module names are those of the released code, so that its checkpoints load key by key. Shapes: B clouds, N points,
G patches (tokens) of M points, width C.

Source: Point-MAE (arXiv 2203.06604), as PointGST (arXiv 2410.08114) uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import InputError


@dataclass(frozen=True)
class BackboneConfig:
    """Shape of a Point-MAE backbone, in the names of its official configuration files.

    Attributes:
        trans_dim: width C. encoder_dims: output width of the patch encoder (equal to `trans_dim` here).
        encoder_width: width of the patch encoder's first layer; the others are two and four times as wide.
        num_group, group_size: G patches of M points.
        cls_dim: classes. drop_path_rate: at the last block, growing linearly from 0.
        channels: values of a point beside its place, e.g. 3 for its colour.
    """

    trans_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    num_group: int = 64
    group_size: int = 32
    encoder_dims: int = 384
    cls_dim: int = 40
    drop_path_rate: float = 0.1
    encoder_width: int = 128
    channels: int = 0

    def __post_init__(self) -> None:
        if self.trans_dim % self.num_heads:
            raise InputError(
                f"trans_dim {self.trans_dim} is not divisible by num_heads {self.num_heads}; change one of them"
            )

    @property
    def least_points(self) -> int:
        """Points that a cloud must have: as many as patches, and as one patch holds."""
        return max(self.num_group, self.group_size)

    def with_(self, **changes: Any) -> BackboneConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)


class Pointwise(nn.Conv1d):
    """A convolution of width 1, which on points (P, inside) is a matrix product, and faster as one.

    The state is a convolution's, as in the released checkpoints.
    """

    def forward(self, x: Tensor, rest: Callable[[Tensor], Tensor] | None = None, leading: bool = False) -> Tensor:
        """(P, inside) to (P, outside); a batch (B, inside, P) as a convolution does.

        Args:
            rest: gives what the columns that `x` lacks add, (S, outside) for S runs of P / S rows that share it, from
                the weights (outside, missing) of those columns.
            leading: those columns come before the ones of `x`.
        """
        if x.ndim == 3:
            return super().forward(x)
        weight = self.weight.squeeze(-1)
        if rest is None:
            return functional.linear(x, weight, self.bias)
        missing = weight.shape[1] - x.shape[1]
        other, own = (
            (weight[:, :missing], weight[:, missing:]) if leading else (weight[:, -missing:], weight[:, :-missing])
        )
        shared = rest(other)
        y = functional.linear(x, own, self.bias)
        y.view(shared.shape[0], -1, weight.shape[0]).add_(shared[:, None])
        return y


class Pointnorm(nn.BatchNorm1d):
    """Batch norm of points (P, width); with fixed statistics and no gradient it is one multiplication and addition."""

    def forward(self, x: Tensor) -> Tensor:
        needed = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if self.training or x.ndim != 2 or needed:
            return super().forward(x)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return torch.addcmul(self.bias - self.running_mean * scale, x, scale)


def highest(x: Tensor, dim: int) -> Tensor:
    """The maximum over a dimension; without a gradient it need not remember where it was."""
    return x.max(dim).values if x.requires_grad else x.amax(dim)


class PatchEncoder(nn.Module):
    """Mini-PointNet of a patch, (B, G, M, inside) to (B, G, width).

    Args:
        large: PointGPT's, for widths of 768 and more.
        narrow: width of the first layer.
        merged: the patch's members are tokens of this width instead of points; the layers are then as narrow as they
            and as wide as the result (Point-M2AE).
        channels: values of a point beside its place.
    """

    def __init__(self, width: int, large: bool = False, narrow: int = 128, merged: int = 0, channels: int = 0) -> None:
        super().__init__()
        first = (256, 512, 1024) if large else (merged, merged) if merged else (narrow, 2 * narrow)
        second = width if merged else 2 * first[-1]
        layers: list[nn.Module] = []
        for inside, outside in zip((merged or 3 + channels, *first[:-2]), first[:-1], strict=True):
            layers += [Pointwise(inside, outside, 1), Pointnorm(outside), nn.ReLU(inplace=True)]
        self.first_conv = nn.Sequential(*layers, Pointwise(first[-2], first[-1], 1))
        self.second_conv = nn.Sequential(
            Pointwise(2 * first[-1], second, 1),
            Pointnorm(second),
            nn.ReLU(inplace=True),
            Pointwise(second, width, 1),
        )

    def forward(self, patches: Tensor) -> Tensor:
        batch, groups, size, inside = patches.shape
        points = patches.reshape(-1, inside)
        for layer in self.first_conv:
            points = on_points(layer, points)
        whole = highest(points.view(batch * groups, size, -1), 1)
        mix, *others = self.second_conv
        if isinstance(mix, Pointwise):
            # The patch's own feature is the same for all its points: its half of the product is taken once a patch.
            x = mix(points, rest=lambda weight: functional.linear(whole, weight), leading=True)
        else:
            x = on_points(mix, torch.cat([whole.repeat_interleave(size, 0), points], 1))
        for layer in others:
            x = on_points(layer, x)
        return highest(x.view(batch, groups, size, -1), 2)


def on_points(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer on points (P, width); what an adapter made of a convolution gets them as one."""
    if isinstance(layer, (Pointwise, nn.BatchNorm1d, nn.ReLU)):
        return layer(x)
    return layer(x.T[None])[0].T


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, width) to (B, T, width), in `inner` dimensions (default: width)."""

    def __init__(self, width: int, heads: int, inner: int | None = None, qkv_bias: bool = False) -> None:
        super().__init__()
        inner = inner or width
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, width)
        # The released inner-width attention scales by its whole inner width, an ordinary one by the head's.
        self.scale = None if inner == width else inner**-0.5

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """`hidden` (B, T, T) is true where a token, a row, does not see another."""
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if hidden is None else ~hidden[:, None]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block; stochastic depth on both branches.

    `norm2` sees the state between attention and MLP, `drop_path2` the MLP's branch: the places where adapters act.
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path1 = DropPath(drop_path)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x), hidden))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class Blocks(nn.Module):
    """The encoder: the position is added again before every block."""

    def __init__(self, config: BackboneConfig, depth: int | None = None) -> None:
        super().__init__()
        depth = depth or config.depth
        rates = drop_path_rates(config.drop_path_rate, depth)
        self.blocks = nn.ModuleList(Block(config.trans_dim, config.num_heads, rate) for rate in rates)

    def forward(self, x: Tensor, position: Tensor, keep: tuple[int, ...] = ()) -> Tensor | list[Tensor]:
        """(B, T, C) to (B, T, C), or the outputs after the blocks in `keep`."""
        kept = []
        for index, block in enumerate(self.blocks):
            x = block(x + position)
            if index in keep:
                kept.append(x)
        return kept if keep else x


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth growing linearly from 0 at the first block to `last` at the last one."""
    return [last * index / max(1, depth - 1) for index in range(depth)]


def position_mlp(width: int) -> nn.Sequential:
    """Learned position of a centre, (B, G, 3) to (B, G, width)."""
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))


def classification_head(width: int, classes: int) -> nn.Sequential:
    """(B, width) to (B, classes); the state-dict indices 0, 1, 4, 5, 8 are those of the released heads."""
    layers: list[nn.Module] = []
    for inside in (width, 256):
        layers += [nn.Linear(inside, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(256, classes))
