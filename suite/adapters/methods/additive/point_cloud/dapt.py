"""DAPT's dynamic adapter and internal prompts: bottlenecks scaled token by token, whose outputs become prompts.

Zhou et al., Dynamic Adapter Meets Prompt Tuning, arXiv 2403.01439, sections 3.2 and 3.3. In block i, with h the input
of its MLP and P the prompts that the blocks before it have left:

    [class, P, T] = x                         A = ReLU(scale(LN h)) * up(GELU(down(LN h)))
    y = x + attention,  out = y + MLP(h) + A  P gets one more: gamma * mean over tokens of GELU(A) + beta

The paper also scales and shifts the outputs of norms and linear layers; that is the method `ssf`, attached beside it.
Unlike the released model, the prompts leave after the last block: the head sees what it always sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import BlockHooks, BlockSite, TunerConfig, tuner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


class DynamicAdapter(nn.Module):
    """The bottleneck of one block and the scale and shift of its prompt."""

    def __init__(self, width: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Linear(width, 1)
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        self.dropout = dropout
        self.prompt_gamma = nn.Parameter(torch.empty(width))
        self.prompt_beta = nn.Parameter(torch.empty(width))
        for layer in (self.scale, self.down):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        nn.init.normal_(self.prompt_gamma, mean=1, std=0.02)
        nn.init.normal_(self.prompt_beta, std=0.02)

    def forward(self, h: Tensor) -> Tensor:
        """A of the module's equation, of the shape of `h`."""
        x = self.norm(h)
        hidden = functional.dropout(functional.gelu(self.down(x)), self.dropout, self.training)
        return functional.relu(self.scale(x)) * self.up(hidden)

    def prompt(self, added: Tensor) -> Tensor:
        """The prompt (B, 1, C) that a block's A (B, T, C) leaves."""
        return functional.gelu(added).mean(1, keepdim=True) * self.prompt_gamma + self.prompt_beta


@dataclass
class DaptConfig(TunerConfig):
    """Settings of DAPT."""

    rank: int = field(default=64, metadata={"help": "Width inside the adapters."})
    dropout: float = field(default=0.0, metadata={"help": "Inside them.", "live": True})
    prefix_tokens: int = field(
        default=1, metadata={"help": "After how many tokens the prompts stand (the class token)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValueError(f"rank={self.rank} must be at least 1")


class _Block(BlockHooks):
    """The three places of one block where DAPT acts."""

    def enter(self, _block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Put the prompts of the blocks before after the class token."""
        acting = self.site.acting()
        if acting is None or not self.index:
            return None
        start, (x, *rest) = acting[1].prefix_tokens, args
        return (torch.cat([x[:, :start], self._left(self.index - 1).to(x.dtype), x[:, start:]], 1), *rest)

    def branch(self, _mlp: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Add the adapter to the MLP's branch, and leave its prompt."""
        acting = self.site.acting()
        if acting is None:
            return None
        adapter = acting[0][self.index]
        added = adapter(args[0])
        prompts = adapter.prompt(added)
        if self.index:
            prompts = torch.cat([self._left(self.index - 1).to(prompts.dtype), prompts], 1)
        self.site.context.derived(("dapt", self.index), lambda: prompts)
        return output + added.to(output.dtype)

    def leave(self, _block: nn.Module, _args: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
        """Take the prompts out again."""
        acting = self.site.acting()
        if acting is None or not self.index:
            return None
        start = acting[1].prefix_tokens
        return torch.cat([x[:, :start], x[:, start + self.index :]], 1)

    def _left(self, index: int) -> Tensor:
        def missing() -> Tensor:
            raise InputError("dapt needs a context of its own for every forward: with adapters.context(model): ...")

        return self.site.context.derived(("dapt", index), missing)


@tuner(
    MethodInfo("dapt", paper="2403.01439", trainable="adapters, scales and shifts of every block",
        identity_at_start=False, mergeable=False, layers=("transformer encoder",),
    ),
    DaptConfig,
)  # fmt: skip
class Dapt(BlockSite):
    """Sits on the encoder, a module with `blocks`; the prompts of a forward live in the model's context."""

    hooks = _Block
    places: ClassVar = {"mlp": "branch"}
    module_names: ClassVar = ("modules",)

    def create(self, adapter: str, config: DaptConfig) -> dict[str, Tensor | nn.Module]:
        return {"modules": nn.ModuleList(DynamicAdapter(self.width, config.rank, config.dropout) for _ in self.blocks)}
