"""What a run writes down while it trains: `metrics.jsonl`, TensorBoard events, the training log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer

from suite.errors import InputError
from suite.files import write_text


class JsonLines(Logger):
    """One JSON object a line in `metrics.jsonl`: `step`, `epoch` and whatever is logged. NaN becomes null."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        epoch = values.pop("epoch", None)
        line = {"step": None if step is None else int(step), "epoch": None if epoch is None else int(epoch), **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop what a run wrote after the step from which it is resumed, and a last line cut off by a kill."""
        if self.path.is_file():
            kept = [line for line in read_lines(self.path) if (line["step"] or 0) <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that was cut off is left out.

    Raises:
        InputError: another line is not as we write it.
    """
    lines: list[dict[str, Any]] = []
    texts = path.read_bytes().splitlines()
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except ValueError:
            if number == len(texts):
                break
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("step", ""), int | None):
            raise InputError(f"{path}, line {number}: no JSON object with a step; take the line out")
        lines.append(line)
    return lines


def final_values(path: Path) -> dict[str, float]:
    """The last value of everything in a `metrics.jsonl`."""
    values: dict[str, float] = {}
    for line in read_lines(path) if path.is_file() else []:
        values.update({k: v for k, v in line.items() if k not in ("step", "epoch") and v is not None})
    return values


class TrainingLog(L.Callback):
    """Logs the mean training loss, its extra terms, learning rate, speed and memory every so many optimiser steps.

    The loss stays on the device between two lines, so that logging does not hold the device up.

    Args:
        every: optimiser steps between two lines.

    Raises:
        InputError: the loss is no longer finite.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.loss: float | None = None
        self.rate = 0.0
        self._sums: dict[str, Tensor] = {}
        self._weight: Tensor | None = None
        self._since = (0, 0.0)
        self._lr = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = (trainer.global_step, time.perf_counter())

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self._lr = optimizer.param_groups[0]["lr"]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning counts from 0 and takes a value named step as the step of the line.
        pl_module.log("step", float(trainer.global_step))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._add(outputs["weight"], {"loss": outputs["mean"], **outputs["terms"]})
        step = trainer.global_step
        stepped = (
            batch_idx + 1
        ) % trainer.accumulate_grad_batches == 0 or batch_idx + 1 == trainer.num_training_batches
        if stepped and self._weight is not None and (step % self.every == 0 or step == 1):
            self._write(trainer, step)

    def _add(self, weight: Tensor, values: Mapping[str, Tensor]) -> None:
        self._weight = weight if self._weight is None else self._weight + weight
        for name, value in values.items():
            weighed = value * weight
            self._sums[name] = self._sums[name] + weighed if name in self._sums else weighed

    def _write(self, trainer: L.Trainer, step: int) -> None:
        assert self._weight is not None
        names = list(self._sums)
        packed = torch.stack([self._weight.double(), *(self._sums[name].double() for name in names)])
        if trainer.world_size > 1:
            packed = trainer.strategy.reduce(packed, reduce_op="sum")
        weight, *sums = packed.tolist()
        values = {f"train/{name}": total / max(weight, 1e-30) for name, total in zip(names, sums, strict=True)}
        self._sums, self._weight = {}, None
        self.loss = values["train/loss"]
        if not math.isfinite(self.loss):
            raise InputError(
                f"the training loss is {self.loss} at step {step}; lower trainer.lr, set trainer.gradient_clip_val or "
                "use another trainer.precision"
            )
        now = time.perf_counter()
        past_step, past_time = self._since
        self.rate = (step - past_step) / max(now - past_time, 1e-9)
        self._since = (step, now)
        values |= {"lr": self._lr, "steps_per_second": round(self.rate, 4)}
        if torch.cuda.is_available():
            values["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=step)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "weight": self._weight}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sums, self._weight = state_dict["sums"], state_dict["weight"]
