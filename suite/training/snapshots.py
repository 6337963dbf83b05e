"""Adapters of earlier steps beside the final one: where training went too far, one of them is the better result."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import lightning as L

from suite.files import ADAPTER, atomic_folder
from suite.training.checkpointing import check_finite
from suite.training.module import AdapterModule

_STEP = re.compile(r"step_(\d{6,})")


class Snapshots(L.Callback):
    """Writes the adapter as it is after every so many steps; the weights are the live ones, never an average.

    Args:
        folder: gets a folder `step_NNNNNN` for each, an adapter like the run's own.
        every: optimiser steps between two.
        last: how many stay, the newest; None: all.
        checkpoint: the run's, which a message may name.
    """

    def __init__(self, folder: Path, every: int, last: int | None, checkpoint: Path) -> None:
        self.folder, self.every, self.last, self.checkpoint = folder, every, last, checkpoint

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        path = self.folder / f"step_{step:06}"
        if not trainer.is_global_zero or step == 0 or step % self.every or path.exists():
            return
        assert isinstance(pl_module, AdapterModule)
        check_finite(trainer, self.checkpoint)
        with atomic_folder(path, ADAPTER) as part:
            pl_module.save_adapter(part)
        if self.last is not None:
            for old in self._written()[: -self.last]:
                shutil.rmtree(old)

    def _written(self) -> list[Path]:
        """What stands of the run's own, by step; a folder with a user's files in it is the user's."""
        found = {int(match[1]): path for path in self.folder.iterdir() if (match := _STEP.fullmatch(path.name))}
        return [path for _, path in sorted(found.items()) if path.is_dir() and not ADAPTER.foreign(path)]
