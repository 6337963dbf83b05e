"""Keeping the weights of the best validation, and ending a run that no longer improves."""

from __future__ import annotations

import math
import sys
from typing import Any, Literal

import lightning as L
from torch import Tensor

from suite.errors import InputError
from suite.training.module import AdapterModule


class KeepBest(L.Callback):
    """Remembers the trained weights of the validation with the best `monitor`.

    Args:
        monitor: logged value, e.g. `val/f1`.
        mode: whether it is to be `max` or `min`.
        patience: validations without a better value after which training ends; None never ends early.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int | None) -> None:
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.best = -math.inf if mode == "max" else math.inf
        self.step = 0
        self.waited = 0
        self.weights: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to watch what no validation will measure.

        Raises:
            InputError: there are no validation data, or none of them is used.
        """
        # Lightning makes the validation loader before the first epoch that validates, which may be a later one.
        known = trainer.val_dataloaders is not None
        if not trainer.enable_validation or (known and not sum(trainer.num_val_batches)):
            raise InputError(
                f"trainer.monitor is {self.monitor}, and the run validates nothing; give it validation data (and "
                "trainer.limit_val_batches above 0), or set trainer.monitor and trainer.patience to null"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.weights and trainer.is_global_zero:
            print(
                f"trainer.monitor: no validation gave a number for {self.monitor}; the last weights are kept",
                file=sys.stderr,
                flush=True,
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, AdapterModule) and pl_module.trained is not None
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise InputError(f"trainer.monitor is {self.monitor}, which the recipe does not log; it logs {known}")
        value = float(trainer.callback_metrics[self.monitor])
        if value > self.best if self.mode == "max" else value < self.best:
            self.best, self.step, self.waited = value, trainer.global_step, 0
            self.weights = pl_module.trained.copy()
            self.metrics = {
                name: float(number) for name, number in trainer.callback_metrics.items() if name.startswith("val/")
            }
        else:
            self.waited += 1
            if self.patience is not None and self.waited >= self.patience:
                trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "step", "waited", "weights", "metrics")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)
