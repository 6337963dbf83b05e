"""The progress of a run on standard error: a live bar for people, a line now and then for log files."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

REFRESH = 0.5
"""Seconds between two looks at the loss; looking waits for the device, so it must be rare."""
LINE = 30.0
"""Seconds between two lines where there is no terminal."""


class ProgressDisplay(L.Callback):
    """Steps done, loss, steps per second, memory and time left.

    Args:
        label: what is being trained.
    """

    def __init__(self, label: str = "training") -> None:
        self.label = label
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._total = 0
        self._started = (0, 0.0)
        self._shown = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._total = int(trainer.estimated_stepping_batches)
        self._started = (trainer.global_step, time.perf_counter())
        self._shown = time.perf_counter()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, refresh_per_second=2)
            self._task = self._bar.add_task(
                self.label, total=self._total, completed=trainer.global_step, facts="starting"
            )
            self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        now = time.perf_counter()
        if now - self._shown < (REFRESH if self._bar is not None else LINE):
            return
        self._shown = now
        facts = self._facts(trainer, now, float(outputs["mean"]))
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, facts=facts)
        else:
            print(f"{self.label}: step {trainer.global_step}/{self._total}, {facts}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, facts="")
        self.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _facts(self, trainer: L.Trainer, now: float, loss: float) -> str:
        past_step, past_time = self._started
        rate = (trainer.global_step - past_step) / max(now - past_time, 1e-9)
        left = (self._total - trainer.global_step) / rate if rate > 0 else float("inf")
        clock = f", {left / 60:.0f} min left" if self._bar is None and left != float("inf") else ""
        return f"loss {loss:.4f}, {rate:.2f} steps/s, {memory_gb():.1f} GB{clock}"


def memory_gb() -> float:
    """Peak memory of this process: of the GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
