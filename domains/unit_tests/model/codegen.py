"""CodeGen's fused projection in another number of blocks than transformers' class cuts it into.

The rows of `qkv_proj` lie in blocks of [queries | values | keys] of some heads each. How many blocks there are is in no
configuration; transformers takes 4, and weights of another number load without an error and compute nonsense.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from suite.errors import InputError

BLOCKS = 4
"""Of transformers' class."""


def set_blocks(model: nn.Module, blocks: int) -> None:
    """Let a CodeGen model take its fused projections as so many blocks; adapters on them keep the weights' own order.

    Raises:
        InputError: the model is no CodeGen, or its heads cannot lie in so many blocks.
    """
    if blocks == BLOCKS:
        return
    config: Any = model.config
    if config.model_type != "codegen":
        raise InputError(
            f"qkv_blocks {blocks} is of CodeGen's fused projections, and the base is a {config.model_type}"
        )
    if blocks < 1 or config.n_head % blocks:
        raise InputError(f"qkv_blocks {blocks}: the base has {config.n_head} heads, which do not lie in so many blocks")
    for module in model.modules():
        if hasattr(module, "qkv_proj") and hasattr(module, "out_proj"):
            width = module.out_proj.in_features
            order = _order(blocks, config.n_head, width // config.n_head)
            reorder = _Reordered(order)
            module.register_forward_pre_hook(reorder.begin)
            module.register_forward_hook(reorder.end, always_call=True)


def _order(blocks: int, heads: int, size: int) -> torch.Tensor:
    """For each output of transformers' order where it stands in the weights'.

    Returns:
        positions, (3 * heads * size).
    """
    places = torch.arange(3 * heads * size).view(blocks, 3, heads // blocks, size)
    by_head = places.transpose(0, 1).reshape(3, heads, size)
    return by_head.view(3, BLOCKS, heads // BLOCKS, size).transpose(0, 1).flatten()


class _Reordered:
    """Reorders what an attention's projection gives, whatever that is when it is called: an adapter may wrap it."""

    def __init__(self, order: torch.Tensor) -> None:
        self.order = order
        self.handle: RemovableHandle | None = None

    def begin(self, attention: nn.Module, given: Any) -> None:
        projection: nn.Module = attention.qkv_proj
        self.handle = projection.register_forward_hook(self.reorder)

    def reorder(self, projection: nn.Module, given: Any, found: torch.Tensor) -> torch.Tensor:
        self.order = self.order.to(found.device)
        return found.index_select(-1, self.order)

    def end(self, attention: nn.Module, given: Any, found: Any) -> None:
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
