"""Exponential moving average of the trained weights."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn


class MovingAverage(L.Callback):
    """Averages the trainable parameters after every optimiser step; the average validates and is what is kept.

    The decay is warmed up as min(decay, (1 + n) / (10 + n)) after n steps (Tarvainen & Valpola 2017 as implemented in
    TensorFlow's ExponentialMovingAverage), so that short runs do not average in the start. Only trainable parameters
    are copied: the average of a 7B model's adapter is as small as the adapter.

    Args:
        decay: weight of the old average, e.g. 0.999.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}
        self._live: dict[str, Tensor] = {}
        self._loaded: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, parameter in _trainable(pl_module).items():
            start = self._loaded.get(name, parameter)
            self.average[name] = start.detach().to(parameter.device, copy=True)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in _trainable(pl_module).items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap_in(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap_out(pl_module)

    @torch.no_grad()
    def swap_in(self, module: nn.Module) -> None:
        """Put the average into the module and remember the live weights."""
        average = self.average or self._loaded
        for name, parameter in _trainable(module).items():
            self._live[name] = parameter.detach().clone()
            parameter.copy_(average[name])

    @torch.no_grad()
    def swap_out(self, module: nn.Module) -> None:
        """Put the live weights back."""
        for name, parameter in _trainable(module).items():
            parameter.copy_(self._live[name])
        self._live.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": dict(self.average)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self._loaded = state_dict["steps"], state_dict["average"]


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
