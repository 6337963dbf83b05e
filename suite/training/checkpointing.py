"""`last.ckpt`: written whole or not at all, only where a run can go on exactly, and checked when it is read."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch.utils._pytree import tree_leaves

from suite.errors import InputError, first_line
from suite.files import replace_durably
from suite.training.folder import unfinished
from suite.training.interruption import StopRequested, StopSignal
from suite.training.module import AdapterModule

CONTENT = ("state_dict", "global_step", "epoch", "loops", "callbacks", "optimizer_states", "lr_schedulers")
"""What every checkpoint of a training holds."""


class CheckpointFile(CheckpointIO):
    """How Lightning writes and reads checkpoints: one file, on the disk before it takes its name, never unpickled."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        target = Path(path)
        part = unfinished(target)
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
            replace_durably(part, target)
        except RuntimeError as error:
            # torch closes its archive in spite of the failed write, and complains of that instead.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        finally:
            part.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU, if it is as it was written.

    torch's archives hold a checksum (CRC-32) of each of their parts, which torch itself never compares.

    Raises:
        InputError: the file is damaged, or no checkpoint of a training.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} differs from its checksum")
    # An archive with a changed bit can ask for a password or for a way of packing that does not exist.
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError, NotImplementedError) as error:
        raise InputError(
            f"{path} is damaged ({first_line(error)}) and cannot be resumed; put back a copy of it, or train anew"
        ) from error
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path} holds other things than numbers and tensors; it is no checkpoint of ours") from error
    missing = [name for name in CONTENT if not isinstance(content, dict) or name not in content]
    if missing:
        raise InputError(f"{path} is no checkpoint of a training: it holds no {missing[0]}; name the run's own folder")
    return content


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
        at_the_end = trainer.global_step == trainer.max_steps
        if stopping or at_the_end or trainer.global_step % self.every == 0:
            self._save(trainer, stopping)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        batches = trainer.fit_loop.batch_idx + 1
        if trainer.state.fn != "fit" or trainer.sanity_checking or batches == trainer.num_training_batches:
            return
        if batches % trainer.accumulate_grad_batches == 0:
            self._save(trainer, self._stopping(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning ends the epoch also where max_steps or patience end the run in the middle of one: saved here, the
        # run would leave out the epoch's other batches when its end is moved.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer, self._stopping(trainer))

    def _stopping(self, trainer: L.Trainer) -> bool:
        if trainer.world_size == 1:
            return self.stop.requested
        return trainer.strategy.reduce_boolean_decision(self.stop.requested, all=False)

    def _save(self, trainer: L.Trainer, stopping: bool) -> None:
        check_finite(trainer, self.path)
        trainer.save_checkpoint(self.path)
        if stopping:
            raise StopRequested


def check_finite(trainer: L.Trainer, checkpoint: Path) -> None:
    """Refuse to keep weights that a division by zero has spoilt.

    Raises:
        InputError: a trained tensor holds NaN or infinity.
    """
    module = trainer.lightning_module
    assert isinstance(module, AdapterModule) and module.trained is not None
    if (name := module.trained.not_finite()) is not None:
        saved = f"; {checkpoint} is of step {_step(checkpoint)}" if checkpoint.is_file() else ""
        raise InputError(
            f"the weights are no longer finite after step {trainer.global_step} ({name}); lower trainer.lr, set "
            f"trainer.gradient_clip_val or use another trainer.precision{saved}"
        )


def _step(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["global_step"])
