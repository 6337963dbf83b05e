"""DINOv2's vision transformer (Oquab et al., arXiv 2304.07193) as trackers use it: patches and blocks, no class token.

The blocks are timm's, so the names are those of the original release, but for the giant's SwiGLU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Literal, Self

import torch
from timm.layers import Mlp, SwiGLUPacked
from timm.models import vision_transformer
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import InputError

Ffn = Literal["mlp", "swiglu"]
SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {"depth": 12, "width": 384, "heads": 6},
    "base": {"depth": 12, "width": 768, "heads": 12},
    "large": {"depth": 24, "width": 1024, "heads": 16},
    "giant": {"depth": 40, "width": 1536, "heads": 24, "ffn": "swiglu"},
}
"""The released ones."""
SUBSETS_FROM = 0.1
"""A rate of dropped paths above which subsets of the batch are computed, instead of all and then dropped."""


@dataclass(frozen=True)
class Sizes:
    """What a DINOv2 is made of.

    Attributes:
        depth, width, heads: of the blocks. ffn: `mlp`, or the giant's `swiglu`.
        patch: pixels of a side of a patch. grid: patches of a side of the pictures it was trained on.
    """

    depth: int = 12
    width: int = 768
    heads: int = 12
    ffn: Ffn = "mlp"
    patch: int = 14
    grid: int = 37

    @classmethod
    def of(cls, architecture: Mapping[str, Any]) -> Self:
        """From an `architecture:` block: `{size: base}`, or fields of its own.

        Raises:
            InputError: a name is unknown.
        """
        given = dict(architecture)
        size = given.pop("size", None)
        if size is not None and size not in SIZES:
            raise InputError(f"architecture: size is {size!r}; give {', '.join(SIZES)}")
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise InputError(f"architecture: {unknown[0]!r} is unknown; give size or {', '.join(known)}")
        return cls(**{**(SIZES[size] if size else {}), **given})

    def hidden(self) -> int:
        """Width inside the feed-forward part."""
        if self.ffn == "mlp":
            return 4 * self.width
        return (int(4 * self.width * 2 / 3) + 7) // 8 * 8

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return asdict(self)


class SplitQkv(nn.Module):
    """Query, key and value as three layers that are one: what LoRA must see to change each by itself.

    Args:
        width: of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q(x), self.k(x), self.v(x)], -1)


class Block(vision_transformer.Block):
    """timm's block, with dropped paths as DINOv2 drops them.

    Up to a rate of 0.1 each sample loses a path by itself. Above, a path is computed for a random part of the batch
    alone, and added with the weight that makes up for the rest.
    """

    drop_rate: float = 0.0

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self.training or not self.drop_rate:
            return super().forward(x, *args, **kwargs)
        x = _residual(x, lambda part: self.ls1(self.attn(self.norm1(part))), self.drop_rate)
        return _residual(x, lambda part: self.ls2(self.mlp(self.norm2(part))), self.drop_rate)


def _residual(x: Tensor, path: Any, rate: float) -> Tensor:
    """x (batch, n, width) and its path, of which a share is dropped."""
    rows = len(x)
    if rate <= SUBSETS_FROM:
        kept = x.new_empty(rows, 1, 1).bernoulli_(1 - rate)
        return x + path(x) * kept / (1 - rate)
    size = max(int(rows * (1 - rate)), 1)
    chosen = torch.randperm(rows, device=x.device)[:size]
    added = path(x[chosen])
    return torch.index_add(x, 0, chosen, added.to(x.dtype), alpha=rows / size)


def blocks(sizes: Sizes, *, split: bool = False, drop_path: float = 0.0) -> nn.ModuleList:
    """The blocks, weights at random on the device that is current.

    Args:
        split: query, key and value are three layers.
        drop_path: the rate at which paths are dropped in training, the same in every block.
    """
    swiglu = sizes.ffn == "swiglu"
    made = nn.ModuleList(
        Block(
            sizes.width,
            sizes.heads,
            mlp_ratio=2 * sizes.hidden() / sizes.width if swiglu else 4.0,
            qkv_bias=True,
            init_values=1e-5,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            act_layer=nn.SiLU if swiglu else nn.GELU,
            mlp_layer=SwiGLUPacked if swiglu else Mlp,
        )
        for _ in range(sizes.depth)
    )
    for block in made:
        block.drop_rate = drop_path
        if split:
            block.attn.qkv = SplitQkv(sizes.width)
    return made


def resized_positions(positions: Tensor, grid: int) -> Tensor:
    """A table of patch positions (1, n, width) at another grid, (1, grid², width).

    Bicubic without antialiasing, as DINOv2 does it and timm by default does not.
    """
    side = round(positions.shape[1] ** 0.5)
    table = positions.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, width, side, side)
    if side != grid:
        table = functional.interpolate(
            table.float(), (grid, grid), mode="bicubic", align_corners=False, antialias=False
        )
    return table.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
