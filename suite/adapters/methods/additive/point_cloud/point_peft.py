"""Point-PEFT: prompts with a geometric place and a prior, and bottlenecks that pool and spread over neighbourhoods.

Tang et al., Point-PEFT, arXiv 2310.03059: Point-prior Prompt (section 3.1) and Geometry-aware Adapter (section 3.2).
In a block, with x its tokens, y the state after attention and m the MLP's branch:

    x = [class, P, T]        P = dropout(prompts) + bottleneck_8(prior)        (the first `prompted` blocks)
    z = y + m + 0.7 bottleneck(m) = [class, P, T]
    V = GELU(BN(max over neighbours of (N + attention(norm N)))) + 0.3 C       N, C: tokens of neighbours and centres
    T = T + 0.3 * (V interpolated to the tokens)
    out = [class, T] of (z + bottleneck'(z))

Constants 0.7 and 0.3 are those of the released code. On Point-M2AE (one adapter for each scale, `level`) there is no
class token, z = y + gate (m + bottleneck(m)) with a trained gate that starts at 0, and prompts see and are seen by all
tokens, whatever the tokens' radius.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import BlockHooks, BlockSite, TunerConfig, tuner
from suite.adapters.methods.additive.point_cloud.pointsets import (
    farthest_point_sample,
    gather,
    interpolate,
    nearest_neighbours,
)
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

Indexing = Literal["fixed", "released"]


class Neighbourhoods(NamedTuple):
    """Which tokens are pooled, and where among the places (B, P, 3) they and the tokens lie.

    Attributes:
        members: rows of the flattened tokens, (B * G / 2 * M / 2).
        middles: rows of the centres among them, (B * G / 2).
        coarse: places of the centres, (B, G / 2).
        tokens: places of the tokens, (B, G).
    """

    members: Tensor
    middles: Tensor
    coarse: Tensor
    tokens: Tensor


class Bottleneck(nn.Module):
    """Linear, QuickGELU, dropout, linear; the caller adds the residual where there is one."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.ln1 = nn.Linear(width, inner)
        self.ln2 = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.ln1, self.ln2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.ln1(x)
        return self.ln2(self.dropout(hidden * torch.sigmoid(1.702 * hidden)))


class PooledAttention(nn.Module):
    """Attention among the tokens of one neighbourhood, (R, M, width), in `inner` dimensions over `heads` heads."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.inner = heads, inner
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, members, _ = x.shape
        q, k, v = self.qkv(x).view(rows, members, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Scaled by the whole inner width, not the head's, as released.
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=self.inner**-0.5)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class BlockAdapters(nn.Module):
    """What one block gets. Blocks without prompts hold theirs too, as the released checkpoints do."""

    def __init__(self, width: int, config: PointPeftConfig) -> None:
        super().__init__()
        self.ad_gate = nn.Parameter(torch.zeros(1))
        self.prompt_embeddings = nn.Parameter(torch.empty(config.prompts, width))
        nn.init.trunc_normal_(self.prompt_embeddings, std=0.02)
        if config.prior:
            self.cp_adapter = Bottleneck(width, config.prior_width, config.dropout)
        self.adapter = Bottleneck(width, config.adapter_dim, config.dropout)
        self.adapter1 = Bottleneck(width, config.adapter_dim, config.dropout)
        self.out_transform = nn.Sequential(nn.BatchNorm1d(width), nn.GELU())


class PointPeftModules(nn.Module):
    """Everything that Point-PEFT adds to an encoder of `depth` blocks; attention and norm are shared by all blocks."""

    def __init__(self, width: int, depth: int, config: PointPeftConfig) -> None:
        super().__init__()
        self.prompt_cor = nn.Parameter(torch.empty(config.prompts, 3))
        nn.init.trunc_normal_(self.prompt_cor, std=0.02)
        self.blocks = nn.ModuleList(BlockAdapters(width, config) for _ in range(depth))
        self.attn1 = PooledAttention(width, config.heads, config.inner_dim)
        self.norm3 = nn.LayerNorm(width)


@dataclass
class PointPeftConfig(TunerConfig):
    """Settings of Point-PEFT."""

    prompts: int = field(
        default=10,
        metadata={
            "help": ("Number of prompts; with a prior, two of them hold the cloud's own feature and the weighted mean.")
        },
    )
    prompted: int = field(default=6, metadata={"help": "Blocks, from the first, that have prompts."})
    adapter_dim: int = field(default=16, metadata={"help": "Width inside the bottlenecks of tokens."})
    prior_width: int = field(default=8, metadata={"help": "Width inside the bottleneck of the prior."})
    inner_dim: int = field(default=18, metadata={"help": "Width of the attention within neighbourhoods."})
    heads: int = field(default=6, metadata={"help": "Heads of that attention; divides `inner_dim`."})
    group_size: int = field(
        default=32, metadata={"help": "M of the backbone's patches; neighbourhoods hold half as many tokens."}
    )
    dropout: float = field(default=0.1, metadata={"help": "Inside the bottlenecks.", "live": True})
    prompt_dropout: float = field(default=0.1, metadata={"help": "On the prompts.", "live": True})
    level: int | None = field(
        default=None,
        metadata={"help": "Scale of Point-M2AE that the encoder is; its centres are in the context's `levels`."},
    )
    coarse: int | None = field(
        default=None,
        metadata={"help": "Number of neighbourhoods; half of the tokens by default."},
    )
    members: int | None = field(
        default=None,
        metadata={"help": "Tokens in a neighbourhood; half of `group_size` by default."},
    )
    spread: float = field(default=0.3, metadata={"help": "Factor of what is interpolated to the tokens."})
    class_tokens: int = field(default=1, metadata={"help": "Tokens before the prompts."})
    gated: bool = field(
        default=False, metadata={"help": "Whether the trained gate scales the MLP's branch, as on Point-M2AE."}
    )
    prior: bool = field(default=True, metadata={"help": "Whether prompts can take a prior."})
    indexing: Indexing = field(
        default="fixed",
        metadata={
            "help": (
                "`fixed`, or `released` for the authors' checkpoints: their indices read tokens of "
                "neighbouring clouds and pair tokens with other tokens' coordinates."
            )
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_dim % self.heads:
            raise ValueError(f"inner_dim={self.inner_dim} must be divisible by heads={self.heads}")
        if self.prompts < 3:
            raise ValueError(f"prompts={self.prompts} must be at least 3: two of them hold the prior's summary")
        if self.indexing == "released" and self.level is not None:
            raise ValueError("indexing 'released' is kept for Point-MAE's checkpoints; Point-M2AE has 'fixed' only")


class _Block(BlockHooks):
    """The four places of one block where Point-PEFT acts."""

    def enter(self, _block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Put the prompts after the class token, and where tokens do not see each other, let all see the prompts."""
        acting = self.site.acting()
        if acting is None or self.index >= acting[1].prompted:
            return None
        modules, config = acting
        own, (x, *masks), start = modules.blocks[self.index], args, config.class_tokens
        prompts = functional.dropout(own.prompt_embeddings, config.prompt_dropout, self.site.training)
        prompts = prompts.expand(x.shape[0], -1, -1)
        prior = self.site.context.get("prior") if config.prior else None
        if prior is not None:
            prompts = prompts + prior + own.cp_adapter(prior)
        masks = [with_prompts(hidden, start, config.prompts) for hidden in masks]
        return (torch.cat([x[:, :start], prompts.to(x.dtype), x[:, start:]], 1), *masks)

    def attend(self, _module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> Tensor | None:
        """Attention has no stochastic depth here, as released."""
        return None if self.site.acting() is None else args[0]

    def branch(self, _module: nn.Module, _args: tuple[Tensor, ...], m: Tensor) -> Tensor | None:
        """Add the bottleneck to the MLP's branch."""
        acting = self.site.acting()
        if acting is None:
            return None
        own = acting[0].blocks[self.index]
        return own.ad_gate * (m + own.adapter(m)) if acting[1].gated else m + 0.7 * own.adapter(m)

    def leave(self, block: nn.Module, _args: tuple[Tensor, ...], z: Tensor) -> Tensor | None:
        """Pool over neighbourhoods, spread, adapt, and take the prompts out again."""
        acting = self.site.acting()
        if acting is None:
            return None
        modules, config = acting
        own, prompted = modules.blocks[self.index], self.index < config.prompted
        start = config.class_tokens
        end = start + (config.prompts if prompted else 0)
        places, near = self.site.geometry(modules, config, prompted)
        # Called by its name: as a module it would meet the hook above.
        drop: Callable[[Tensor], Tensor] = block.drop_path2.forward
        pooled = pool(z[:, start:].flatten(0, 1), near, modules, own.out_transform, drop).to(places.dtype)
        spread = interpolate(gather(places, near.tokens), gather(places, near.coarse), pooled, None)
        x = torch.cat([z[:, :end], z[:, end:] + config.spread * spread.to(z.dtype)], 1)
        x = x + own.adapter1(x)
        return torch.cat([x[:, :start], x[:, end:]], 1) if prompted else x


@tuner(
    MethodInfo("point_peft", paper="2310.03059", trainable="prompts, a memory and adapters",
        identity_at_start=False, mergeable=False, layers=("transformer encoder",),
    ),
    PointPeftConfig,
)  # fmt: skip
class PointPeft(BlockSite):
    """Sits on the encoder, a module with `blocks`.

    Context: centers (B, G, 3), or `levels`, a list of them, where the config has a level; points (B, N, 3) with
    released indexing; prior (B, prompts, C) where there is one.
    """

    hooks = _Block
    places: ClassVar = {"drop_path1": "attend", "drop_path2": "branch"}
    module_names: ClassVar = ("modules",)

    def create(self, adapter: str, config: PointPeftConfig) -> dict[str, Tensor | nn.Module]:
        if config.prompted > len(self.blocks):
            raise InputError(
                f"{self.target}: prompted={config.prompted}, and the encoder has {len(self.blocks)} blocks"
            )
        return {"modules": PointPeftModules(self.width, len(self.blocks), config)}

    def geometry(
        self, modules: PointPeftModules, config: PointPeftConfig, prompted: bool
    ) -> tuple[Tensor, Neighbourhoods]:
        """The places (B, P, 3) of a block's tokens and their neighbourhoods, which are found once a forward."""
        centers = self.context["centers"] if config.level is None else self.context["levels"][config.level]
        batch, groups, _ = centers.shape
        coarse, size = config.coarse or groups // 2, config.members or config.group_size // 2
        if not prompted:
            return centers, self.context.derived((self.target,), lambda: pooling(centers, None, coarse, size))
        prompts = modules.prompt_cor.to(centers.dtype).expand(batch, -1, -1)
        if config.indexing == "fixed":
            places = torch.cat([prompts, centers], 1)
            tokens = torch.arange(config.prompts, places.shape[1], device=places.device).expand(batch, -1)
            return places, self.context.derived(
                (self.target, "prompts"), lambda: pooling(places, None, coarse, size)._replace(tokens=tokens)
            )
        places = torch.cat([prompts, self.context["points"]], 1)
        return places, self.context.derived(
            (self.target, "released"), lambda: pooling(places, farthest_point_sample(places, groups), coarse, size)
        )


def with_prompts(hidden: Tensor, start: int, prompts: int) -> Tensor:
    """The mask (B, T, T) with rows and columns of prompts after the first `start` tokens; nothing hides them."""
    batch, tokens, _ = hidden.shape
    wide = hidden.new_zeros(batch, tokens + prompts, tokens + prompts)
    old = [*range(start), *range(start + prompts, tokens + prompts)]
    index = torch.tensor(old, device=hidden.device)
    wide[:, index[:, None], index] = hidden
    return wide


def pooling(places: Tensor, chosen: Tensor | None, coarse: int, size: int) -> Neighbourhoods:
    """`coarse` centres and the `size` nearest of each, among the `chosen` places (B, Q) or all of them.

    Rows are numbered among the chosen ones, cloud after cloud.
    """
    batch = places.shape[0]
    if chosen is None:
        chosen = torch.arange(places.shape[1], device=places.device).expand(batch, -1)
    candidates = gather(places, chosen)
    middles = farthest_point_sample(candidates, coarse)
    _, members = nearest_neighbours(gather(candidates, middles), candidates, size)
    offset = torch.arange(batch, device=places.device)[:, None] * chosen.shape[1]
    rows = (members + offset[..., None]).flatten(), (middles + offset).flatten()
    return Neighbourhoods(*rows, chosen.gather(1, middles), chosen)


def pool(
    rows: Tensor,
    near: Neighbourhoods,
    modules: PointPeftModules,
    transform: nn.Module,
    drop: Callable[[Tensor], Tensor],
) -> Tensor:
    """V of the module's equation, (B, coarse, C), from the flattened tokens; `drop` is stochastic depth."""
    batch, centers = near.coarse.shape
    members = rows[near.members].view(batch * centers, -1, rows.shape[-1])
    members = members + drop(modules.attn1(modules.norm3(members)))
    pooled = transform(members.max(1).values)
    return (pooled + 0.3 * rows[near.middles]).view(batch, centers, -1)
