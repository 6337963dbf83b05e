"""Randomness as a function of (seed, rank, batch), so that nothing that happens between two batches can shift it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import lightning as L
import numpy as np
import torch


def derive(seed: int, *path: object) -> int:
    """A 32-bit seed for one purpose of a run; the same (seed, path) gives the same on every machine."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


_SEED_OF_RUN: ContextVar[int | None] = ContextVar("seed of the run", default=None)


@contextmanager
def seed_of_run(seed: int) -> Iterator[None]:
    """Let data loaders that name no seed take this one in the block, wherever they were made."""
    token = _SEED_OF_RUN.set(seed)
    try:
        yield
    finally:
        _SEED_OF_RUN.reset(token)


def current_seed() -> int | None:
    """The seed of the run that is going on, if one is."""
    return _SEED_OF_RUN.get()


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch with a 32-bit seed."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def reseed(seed: int) -> None:
    """`seed_all` for every batch and sample.

    torch.manual_seed also queues a call for each kind of device that is not in use, with a formatted stack: it costs
    about as much as a small layer, and the queue grows for ever.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


class BatchSeeds(L.Callback):
    """Seeds every batch and every epoch's beginning from the run's seed.

    Exact resume then needs no generator state: validation, logging and the making of data loaders may draw as they
    like, and a run that continues on another number of devices still has a defined stream.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        reseed(derive(self.seed, "epoch", trainer.current_epoch, trainer.global_rank))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        reseed(derive(self.seed, "batch", trainer.fit_loop.total_batch_idx, trainer.global_rank))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        reseed(derive(self.seed, "validation", trainer.global_rank))
