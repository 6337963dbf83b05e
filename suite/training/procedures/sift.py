"""SIFT's choice: the first batch's gradient says which numbers train.

Song et al., Sparse is Enough in Fine-tuning Pre-trained Large Language Models, arXiv 2312.11875. The method `sift`
brings this along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor

from suite import adapters
from suite.adapters.methods.selective.sift import joined, largest
from suite.errors import InputError
from suite.training.outputs import Outputs
from suite.training.procedure import Procedure


class Sift(Procedure):
    """Takes the gradients of the bare base once, tensor by tensor, each freed before the next one is made."""

    def __init__(self) -> None:
        self.chosen = False
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def step(self, batch: Any, forward: Callable[[Any], Outputs]) -> Outputs:
        if not self.chosen and torch.is_grad_enabled():
            self.chosen = True
            self._choose(lambda: forward(batch).loss)
        return forward(batch)

    def _choose(self, loss: Callable[[], Tensor]) -> None:
        """Let every layer train the places of the largest gradients; the random state stays as it was."""
        assert self._module is not None
        model = self._module.model
        found = [layer for _, layer in adapters.layers(model, "sift") if layer.present()]
        layers = [layer for layer in found if not all(map(layer.is_chosen, layer.present()))]
        if not layers:
            return
        with adapters.disabled(model), torch.random.fork_rng():
            best = _largest_gradients(loss, layers)
        for layer in layers:
            for adapter in layer.present():
                places = {name: best[layer.target, name, adapter] for name in layer.holders()}
                layer.reselect(adapter, joined(places, layer.holders()))

    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.chosen = state_dict["chosen"]


def _largest_gradients(loss: Callable[[], Tensor], layers: list[Any]) -> dict[tuple[str, str, str], Tensor]:
    """Flat places of the largest gradients by layer, tensor and adapter. No two whole gradients exist at a time."""
    found: dict[tuple[str, str, str], Tensor] = {}

    def taker(layer: Any, name: str) -> Callable[[Tensor], None]:
        def take(tensor: Tensor) -> None:
            gradient, tensor.grad = tensor.grad, None
            assert gradient is not None
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(gradient)
            if not gradient.isfinite().all():
                raise InputError(f"sift: the gradient of {layer.target}.{name} is not finite in the first batch")
            for adapter in layer.present():
                found[layer.target, name, adapter] = largest(gradient, layer.settings[adapter].rate)

        return take

    held = [(layer, name, tensor) for layer in layers for name, tensor in layer.holders().items()]
    hooks = []
    try:
        for layer, name, tensor in held:
            tensor.requires_grad_(True)
            hooks.append(tensor.register_post_accumulate_grad_hook(taker(layer, name)))
        loss().backward()
    finally:
        for hook in hooks:
            hook.remove()
        for _, _, tensor in held:
            tensor.requires_grad_(False)
    missing = next((f"{layer.target}.{name}" for layer, name, _ in held if not _has(found, layer, name)), None)
    if missing:
        raise InputError(f"sift: the loss of the first batch does not depend on {missing}; leave it out of the targets")
    return found


def _has(found: dict[tuple[str, str, str], Tensor], layer: Any, name: str) -> bool:
    return all((layer.target, name, adapter) in found for adapter in layer.settings if adapter in layer.active_adapters)
