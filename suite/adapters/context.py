"""Side information for one forward, and checkpointing that gives the recomputation the same side information."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import PeftType
from torch import nn
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from suite.adapters.blocks import block_names
from suite.adapters.handle import DERIVED, ROWS, Context, adapter_layers, adapters_on, base_of, handle_of
from suite.adapters.naming import suggest
from suite.adapters.registry import method_info
from suite.errors import InputError

# These put their prompt into the key-value cache.
CACHE_PROMPTS = {PeftType.PREFIX_TUNING, PeftType.CARTRIDGE}


@contextmanager
def context(model: nn.Module, **values: Any) -> Iterator[None]:
    """Give the adapters of a model side information for the forwards inside the block.

    Values of an enclosing block stay visible unless they are given again. They cannot be changed inside.
    """
    holder = handle_of(model).context
    with holder.holding({**holder.values, **values, DERIVED: {}}):
        yield


@contextmanager
def rows(model: nn.Module, names: Sequence[str | None]) -> Iterator[None]:
    """Give every row of the batch the adapter of its own inside the block, whichever is active.

    Args:
        model: a model with adapters.
        names: of attached adapters, one for each row; None for the bare base.

    Raises:
        InputError: there is no such adapter, or a method of it acts on all rows of a batch alike.
    """
    handle = handle_of(model)
    members = {name: handle.attachment(name).members for name in dict.fromkeys(names) if name is not None}
    for name, methods in members.items():
        for member in methods:
            if not method_info(member.method).by_row:
                raise InputError(f"adapter {name!r}: {member.method} acts on all rows of a batch alike")
    asked = tuple(() if name is None else tuple(m.adapter for m in members[name]) for name in names)
    hooks = [
        layer.register_forward_pre_hook(partial(_name_rows, handle.context), with_kwargs=True)
        for _, layer in adapter_layers(model)
        if isinstance(layer, LoraLayer)
    ]
    try:
        with context(model, **{ROWS: asked}):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _name_rows(holder: Context, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """peft's LoRA takes one name for each row as an argument."""
    here = adapters_on(layer)
    chosen = [[name for name in row if name in here] for row in holder.values[ROWS]]
    if any(len(row) > 1 for row in chosen):
        raise InputError(f"lora takes one adapter for each row, and {max(chosen, key=len)} are on one layer")
    return args, kwargs | {"adapter_names": [row[0] if row else "__base__" for row in chosen]}


class _Snapshot:
    """torch's `context_fn`: the recomputation runs under the values of its own forward, not of the latest one."""

    def __init__(self, holder: Context) -> None:
        self.holder = holder

    def __call__(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self.holder.holding(self.holder.values)


class Checkpoint:
    """Activation checkpointing, bound to one model's context; a deepcopied model carries a copy bound to its own."""

    def __init__(self, holder: Context) -> None:
        self.snapshot = _Snapshot(holder)

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return torch_checkpoint(function, *args, use_reentrant=False, context_fn=self.snapshot, **kwargs)


class CheckpointedForward:
    """A block's forward that keeps its inputs only, while the block trains.

    Attributes:
        compiled: the block's own forward after `compile`; None where it is not compiled.
    """

    def __init__(self, block: nn.Module, checkpoint: Checkpoint) -> None:
        self.block, self.checkpoint = block, checkpoint
        self.compiled: Callable[..., Any] | None = None

    def compile(self, **options: Any) -> None:
        """Compile the forward inside the recomputation, which `torch.compile` could not look through."""
        self.compiled = torch.compile(self._plain, **options)

    @property
    def _plain(self) -> Callable[..., Any]:
        return type(self.block).forward.__get__(self.block)

    def __getstate__(self) -> dict[str, Any]:
        # A copy's compiled form would compute with the original.
        return {**vars(self), "compiled": None}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = self.compiled or self._plain
        if not (self.block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return self.checkpoint(forward, *args, **kwargs)


def enable_checkpointing(model: nn.Module, blocks: Sequence[str] | None = None) -> None:
    """Recompute blocks in the backward instead of keeping their activations; adapters see the right context.

    Args:
        model: a model with adapters.
        blocks: names of modules to recompute; by default what the library of the model does (transformers,
            diffusers), else every block of its largest block list.

    Raises:
        InputError: a block is no module of the model, or the active method cannot be checkpointed.
    """
    handle, base = handle_of(model), base_of(model)
    if isinstance(model, PeftModel) and model.peft_type in CACHE_PROMPTS and handle.active:
        raise InputError(
            f"{model.peft_type.value.lower()} works through the key-value cache, which checkpointing switches off: "
            "train without checkpointing, or by another method"
        )
    names = dict(base.named_modules())
    for name in blocks or ():
        if name not in names:
            raise InputError(f"block {name!r} is no module of the model{suggest(name, names)}")
    checkpoint = Checkpoint(handle.context)
    handle.checkpointed = True
    if blocks is None and hasattr(base, "gradient_checkpointing_enable"):
        base.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": checkpoint.snapshot})
    elif blocks is None and hasattr(base, "enable_gradient_checkpointing"):
        base.enable_gradient_checkpointing(checkpoint)
    else:
        for name in blocks if blocks is not None else block_names(base):
            block = base.get_submodule(name)
            block.forward = CheckpointedForward(block, checkpoint)


def disable_checkpointing(model: nn.Module) -> None:
    """Take back what `enable_checkpointing` did, if it was called."""
    if not handle_of(model).checkpointed:
        return
    base = base_of(model)
    for module in base.modules():
        if isinstance(module.__dict__.get("forward"), CheckpointedForward):
            del module.forward
    for name in ("gradient_checkpointing_disable", "disable_gradient_checkpointing"):
        if hasattr(base, name):
            getattr(base, name)()
    handle_of(model).checkpointed = False
