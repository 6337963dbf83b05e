"""`last.ckpt`: written whole or not at all, and only where a run can go on exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch.utils._pytree import tree_leaves

from suite.errors import InputError
from suite.training.interruption import StopRequested, StopSignal


class LastCheckpoint(Checkpoint):
    """Saves between two optimiser steps, never inside gradient accumulation and never before a validation that is due.

    Lightning counts a validation as done once the batch before it is done; a checkpoint between the two would skip it.

    Args:
        path: the file.
        every: optimiser steps between two writes; the ends of validations and epochs write too.
        stop: whether the user wants to stop; then it saves at once and leaves.
    """

    def __init__(self, path: Path, every: int, stop: StopSignal) -> None:
        self.path, self.every, self.stop = path, every, stop

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse training data whose order a checkpoint cannot hold.

        Raises:
            InputError: a training loader keeps no state.
        """
        for batches in tree_leaves(trainer.train_dataloader, is_leaf=lambda part: hasattr(part, "dataset")):
            if not hasattr(batches, "state_dict"):
                raise InputError(
                    f"train_dataloader() gives a {type(batches).__name__}, which cannot resume where a run was "
                    "stopped; return suite.training.loader(...) of the same data set"
                )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        inside_accumulation = done % trainer.accumulate_grad_batches != 0
        interval = trainer.val_check_batch
        validation_due = bool(trainer.enable_validation) and interval is not None and done % interval == 0
        if inside_accumulation or validation_due or done == trainer.num_training_batches:
            return
        stopping = self._stopping(trainer)
        if stopping or trainer.global_step % self.every == 0:
            self._save(trainer, stopping)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        batches = trainer.fit_loop.batch_idx + 1
        if trainer.state.fn != "fit" or trainer.sanity_checking or batches == trainer.num_training_batches:
            return
        if batches % trainer.accumulate_grad_batches == 0:
            self._save(trainer, self._stopping(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer, self._stopping(trainer))

    def _stopping(self, trainer: L.Trainer) -> bool:
        if trainer.world_size == 1:
            return self.stop.requested
        return trainer.strategy.reduce_boolean_decision(self.stop.requested, all=False)

    def _save(self, trainer: L.Trainer, stopping: bool) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.path)
        if stopping:
            raise StopRequested
