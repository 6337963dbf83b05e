"""Where a model's repeated blocks are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from suite.errors import InputError


def block_names(model: nn.Module) -> list[str]:
    """Dotted names of the model's blocks: the elements of its largest list of equal modules, in order.

    Raises:
        InputError: the model has no such list.
    """
    best: tuple[int, list[str]] = (0, [])
    for name, module in model.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) < 2:
            continue
        if len({type(child) for child in module}) > 1:
            continue
        size = sum(parameter.numel() for parameter in module.parameters())
        if size > best[0]:
            prefix = f"{name}." if name else ""
            best = size, [f"{prefix}{child}" for child, _ in module.named_children()]
    if not best[1]:
        raise InputError(f"{type(model).__name__} has no list of equal blocks: name the blocks yourself")
    return best[1]


def ends_with(name: str, endings: Iterable[str]) -> bool:
    """Whether a module's dotted name is one of the endings, or ends with it."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def token_width(model: nn.Module, config: Mapping[str, Any], method: str) -> int:
    """Channels of a token between the model's blocks, as the model, its configuration or its norms tell.

    Raises:
        InputError: neither does.
    """
    width = getattr(model, "embed_dim", None) or config.get("hidden_size")
    if not isinstance(width, int):  # then as the first norm of the first block
        block = model.get_submodule(block_names(model)[0])
        vectors = (p for name, p in block.named_parameters() if "norm" in name.lower() and p.dim() == 1)
        width = next((len(vector) for vector in vectors), None)
    if width is None:
        raise InputError(f"{method}: {type(model).__name__} does not tell its token width; pass width=")
    return width


def all_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of every list of equal modules with parts of their own, encoders and decoders alike; none nested."""
    if isinstance(model, (nn.ModuleList, nn.Sequential)) and len(model) > 1:
        same = len({type(child) for child in model}) == 1
        if same and all(any(True for _ in child.children()) for child in model):
            return list(model)
    return [block for child in model.children() for block in all_blocks(child)]
