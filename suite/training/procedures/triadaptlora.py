"""TriAdaptLoRA's schedule: where the matrix between the factors grows most, layers get another block of ranks.

Liang et al., arXiv 2501.08008, algorithm 1. The method `triadaptlora` brings this along. All that decides what happens
next is in the layers' own state, and thereby in the training's checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized.growing import Draw, check_schedule, drawer, largest
from suite.adapters.methods.reparameterized.triadaptlora import Triadaptlora as Layer
from suite.training.procedure import Procedure


class Triadaptlora(Procedure):
    """Lets the layers of every trainable TriAdaptLoRA adapter grow, after the optimiser's step."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where growth is measured from.

        Raises:
            InputError: the run ends before anything grows.
        """
        self.steps = trainer.global_step
        for name, layers in _growing(pl_module.model).items():
            check_schedule(layers[0].settings[name], int(trainer.estimated_stepping_batches))
            begin(layers, name)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        for name, layers in _growing(pl_module.model).items():
            config = layers[0].settings[name]
            steps = config.total_step or int(trainer.estimated_stepping_batches)
            allocate(layers, name, self.steps, steps, drawer(config.seed, self.steps))


def _growing(model: nn.Module) -> dict[str, list[Layer]]:
    """The layers of every adapter that trains, by its name."""
    found: dict[str, list[Layer]] = {}
    for _, layer in adapters.layers(model, "triadaptlora"):
        for name in layer.present():
            if layer.tensor("lora_A", name).requires_grad:
                found.setdefault(name, []).append(layer)
    return found


@torch.no_grad()
def begin(layers: Sequence[Layer], adapter: str) -> None:
    """Note where growth is measured from, unless a run goes on that did so."""
    for layer in layers:
        if layer.tensor("scores", adapter) < 0:
            layer.tensor("scores", adapter).fill_(layer.norm(adapter))


@torch.no_grad()
def allocate(layers: Sequence[Layer], adapter: str, step: int, steps: int, draw: Draw) -> float | None:
    """One turn of the schedule, after `step`.

    Args:
        layers: of the adapter.
        adapter: its name.
        step: the step that was done.
        steps: of the whole growth.
        draw: gives new ranks their values.

    Returns:
        The score from which on layers grew; None where none did.
    """
    config = layers[0].settings[adapter]
    target = config.target_total_rank or config.r * len(layers)
    missing = target - sum(layer.counted(adapter)[0] for layer in layers)
    if missing <= 0 or step <= config.init_warmup or step % config.incre_interval:
        return None
    norms = torch.stack([layer.norm(adapter) for layer in layers])
    before = torch.cat([layer.tensor("scores", adapter) for layer in layers])
    for layer, norm in zip(layers, norms, strict=True):
        layer.tensor("scores", adapter).fill_(norm)
    done = min(1.0, (step - config.init_warmup) / max(1, steps - config.init_warmup))
    number = missing * done if config.rank_growth_model == "linear" else math.exp(done * math.log(missing))
    threshold, chosen = largest(layers, norms - before, adapter, max(1, int(number)))
    for place in chosen:
        layers[place].grow(adapter, *draw(layers[place], place))
    return threshold
