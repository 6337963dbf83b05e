"""`torch.compile` for a run: the whole model, or each repeated block by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import nn

from suite.adapters.blocks import all_blocks
from suite.adapters.context import CheckpointedForward
from suite.training.choices import Capability, Compile, Load, compiles
from suite.training.module import AdapterModule
from suite.training.settings import TrainerConfig

BACKEND = "inductor"
GRAPHS = 64
"""Compiled forms of a function that torch keeps: blocks of all kinds share theirs, with and without gradients."""


class Compiled(L.Callback):
    """Compiles what `trainer.compile` says when training starts, and leaves the model plain when it ends.

    Blocks are compiled in place (`nn.Module.compile`): names of tensors, hooks and checkpoints stay what they are.

    Args:
        config: of the run.
        device: what it runs on.
    """

    def __init__(self, config: TrainerConfig, device: Capability) -> None:
        self.config, self.device = config, device
        self._compiled: list[nn.Module] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AdapterModule)
        blocks = all_blocks(pl_module.model)
        # Of the whole run, also when it is resumed: it is to go on with the kernels that it had.
        load = load_of(blocks, int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches)
        choice = compiles(self.config, self.device, load)
        if self.config.compile == "auto" and self.device.kind == "cuda" and trainer.is_global_zero:
            print(f"compile  {_reason(choice, load, self.config)}", file=sys.stderr, flush=True)
        self._compiled = {"off": [], "model": [pl_module.model], "blocks": blocks}[choice]
        for module in self._compiled:
            compile_module(module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for module in self._compiled:
            uncompile_module(module)
        self._compiled = []


def _prepare_torch() -> None:
    import torch._dynamo  # takes seconds, which runs that compile nothing are spared

    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
    # A recomputation must run the form that its forward ran, not the one that was used last (pytorch issue 166926).
    in_order = getattr(torch._C._dynamo.eval_frame, "_set_lru_cache", None)
    if in_order is not None:
        in_order(False)


def compile_module(module: nn.Module) -> None:
    """Compile a module in place; what of it is recomputed is compiled inside the recomputation.

    `torch.compile` cannot look through a recomputation that gives the adapters their context back.
    """
    _prepare_torch()
    inside = _checkpointing_layers(module)
    for layer in inside:
        layer._gradient_checkpointing_func = CompiledInside(layer._gradient_checkpointing_func)
    if isinstance(module.forward, CheckpointedForward):
        module.forward.compile(backend=BACKEND)
    elif not inside:
        module.compile(backend=BACKEND)


def uncompile_module(module: nn.Module) -> None:
    """Undo `compile_module`."""
    module._compiled_call_impl = None
    if isinstance(module.forward, CheckpointedForward):
        module.forward.compiled = None
    for layer in _checkpointing_layers(module):
        if isinstance(layer._gradient_checkpointing_func, CompiledInside):
            layer._gradient_checkpointing_func = layer._gradient_checkpointing_func.checkpoint


class CompiledInside:
    """The checkpointing function of a layer of transformers or diffusers, which runs what it is given compiled.

    Args:
        checkpoint: the layer's own, called with a function and the inputs to keep.
    """

    def __init__(self, checkpoint: Callable[..., Any]) -> None:
        self.checkpoint = checkpoint
        self.compiled = torch.compile(_call, backend=BACKEND)

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.checkpoint(self.compiled, function, *args, **kwargs)


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _checkpointing_layers(module: nn.Module) -> list[Any]:
    return [
        layer
        for layer in module.modules()
        if getattr(layer, "gradient_checkpointing", False) and hasattr(layer, "_gradient_checkpointing_func")
    ]


def load_of(blocks: list[nn.Module], steps: int) -> Load | None:
    """What compiling these blocks would cost and save; None where there are none.

    Args:
        blocks: the repeated blocks.
        steps: forward and backward passes of the run.
    """
    if not blocks:
        return None
    parameters = sum(parameter.numel() for block in blocks for parameter in block.parameters())
    return Load(steps, parameters, len({_kind(block) for block in blocks}))


def _kind(block: nn.Module) -> tuple[Any, ...]:
    """What two blocks have in common that share a compiled form."""
    return type(block), tuple((name, tuple(tensor.shape)) for name, tensor in block.named_parameters())


def _reason(choice: Compile, load: Load | None, config: TrainerConfig) -> str:
    if choice == "blocks" and load is not None:
        return f"each block by itself, which pays back after some {load.pays_back_after():.0f} of {load.steps} batches"
    if load is None:
        return "nothing: the model has no repeated blocks"
    if config.strategy == "fsdp":
        return "nothing: FSDP cannot be compiled"
    return f"nothing: it would pay back after some {load.pays_back_after():.0f} batches, and the run has {load.steps}"
