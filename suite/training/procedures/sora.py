"""SoRA's proximal step: after every step of the optimiser the gates shrink, and small ones become zero.

Ding et al., arXiv 2311.11696, section 3.2. The method `sora` brings this along.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from suite import adapters
from suite.adapters.methods.reparameterized.sora import shrunk
from suite.training.procedure import Procedure, regroup


class Sora(Procedure):
    """Shrinks the gates of every trainable SoRA adapter; they have a learning rate of their own if it asks for one."""

    def __init__(self) -> None:
        self.steps = 0
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._module is not None
        for layer, name in _gated(self._module.model):
            rate = layer.settings[name].sparse_lr
            groups = regroup(groups, [layer.tensor("gate", name)], **({} if rate is None else {"lr": rate}))
        return groups

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.steps = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
            return
        done, self.steps = self.steps, trainer.global_step
        rates = {id(p): group["lr"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
        for layer, name in _gated(pl_module.model):
            config, gate = layer.settings[name], layer.tensor("gate", name)
            thresholds = config.thresholds()
            part = done * len(thresholds) // max(1, int(trainer.estimated_stepping_batches))
            xi = thresholds[min(part, len(thresholds) - 1)]
            if config.threshold_scaling == "lr":
                xi *= rates[id(gate)]
            gate.copy_(shrunk(gate, xi, config.prox))


def _gated(model: torch.nn.Module) -> list[tuple[Any, str]]:
    """Every layer with gates, and the adapters whose gates train."""
    return [
        (layer, name)
        for _, layer in adapters.layers(model, "sora")
        for name in layer.present()
        if layer.tensor("gate", name).requires_grad
    ]
