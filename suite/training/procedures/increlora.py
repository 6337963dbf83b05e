"""IncreLoRA's schedule: where the scores are highest, layers get more ranks, until the target is reached.

Zhang et al., arXiv 2308.12043, algorithm 1. The method `increlora` brings this along. All that decides what happens
next is in the layers' own state (ranks, scores), and thereby in the training's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import adapters
from suite.adapters.methods.reparameterized.growing import Draw, check_schedule, drawer, largest
from suite.adapters.methods.reparameterized.increlora import Increlora as Layer
from suite.training.procedure import Procedure


class Increlora(Procedure):
    """Lets the layers of every trainable IncreLoRA adapter grow, between the backward and the optimiser's step."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look where scores are wanted.

        Raises:
            InputError: the run ends before anything grows.
        """
        for name, layers in _growing(pl_module.model).items():
            check_schedule(layers[0].settings[name], int(trainer.estimated_stepping_batches))
            for layer in layers:
                layer.watch_score(name, _is_growing(layers, name) or trainer.global_step == 0)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step
        for name, layers in _growing(pl_module.model).items():
            draw = drawer(layers[0].settings[name].seed, step)
            allocate(layers, name, step, draw, lambda scores: trainer.strategy.reduce(scores, reduce_op="mean"))


def _growing(model: nn.Module) -> dict[str, list[Layer]]:
    """The layers of every adapter that trains, by its name."""
    found: dict[str, list[Layer]] = {}
    for _, layer in adapters.layers(model, "increlora"):
        for name in layer.present():
            if layer.tensor("lora_A", name).requires_grad:
                found.setdefault(name, []).append(layer)
    return found


def _is_growing(layers: Sequence[Layer], adapter: str) -> bool:
    """Whether any layer has ranks in reserve; they are given up when growth is over."""
    return any(len(set(layer.counted(adapter))) > 1 for layer in layers)


@torch.no_grad()
def allocate(
    layers: Sequence[Layer],
    adapter: str,
    step: int,
    draw: Draw,
    mean: Callable[[Tensor], Tensor] = lambda scores: scores,
) -> float | None:
    """One turn of the schedule, after the backward of `step`.

    Args:
        layers: of the adapter, whose scores were watched in the backward.
        adapter: its name.
        step: steps of the optimiser done before this one.
        draw: gives new ranks their values.
        mean: of the scores, over all processes.

    Returns:
        The score from which on layers grew; None where none did.
    """
    config = layers[0].settings[adapter]
    target = config.r * len(layers)
    if step == 0 and all(layer.has_room(adapter) for layer in layers):  # else it is a trained one, of final ranks
        for number, layer in enumerate(layers):
            layer.reserve(adapter, *draw(layer, number))
    if not _is_growing(layers, adapter):
        return None
    importance = _update(layers, adapter, mean(torch.stack([layer.take_score(adapter) for layer in layers])))
    if step <= config.init_warmup or step % config.incre_interval:
        return None
    missing = max(0, target - sum(layer.counted(adapter)[0] for layer in layers))
    threshold, chosen = largest(layers, importance, adapter, min(config.top_h, missing))
    for number in chosen:
        layers[number].open(adapter)
        layers[number].reserve(adapter, *draw(layers[number], number))
    if missing <= config.step * len(chosen) or not chosen:
        for layer in layers:
            layer.close(adapter)
            layer.watch_score(adapter, False)
    return threshold


def _update(layers: Sequence[Layer], adapter: str, scores: Tensor) -> Tensor:
    """Average the scores over time, and multiply them by their uncertainty."""
    config, importance = layers[0].settings[adapter], []
    for layer, score in zip(layers, scores, strict=True):
        average, uncertainty = layer.tensor("scores", adapter)
        average = config.beta1 * average + (1 - config.beta1) * score
        uncertainty = config.beta2 * uncertainty + (1 - config.beta2) * (score - average).abs()
        layer.tensor("scores", adapter).copy_(torch.stack([average, uncertainty]))
        importance.append(average * uncertainty)
    return torch.stack(importance)
