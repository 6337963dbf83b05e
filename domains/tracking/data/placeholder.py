"""Rows of numbers: read from files that users hold, made on the spot for training."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from domains.tracking.model.placeholder import CLASSES, INPUTS
from suite.errors import InputError
from suite.files import read_text
from suite.training import loader

SUFFIXES = (".txt",)


def read(path: Path) -> Tensor:
    """The numbers of a file: (4,).

    Raises:
        InputError: the file cannot be read, or holds anything but four numbers.
    """
    try:
        numbers = torch.tensor([float(word) for word in read_text(path).split()])
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}; write four numbers") from error
    if len(numbers) != INPUTS:
        raise InputError(f"{path}: {len(numbers)} numbers; write four")
    return numbers


def made(size: int, seed: int) -> TensorDataset:
    """Rows (size, 4) and the place of the largest of the first three numbers (size,); the last one says nothing."""
    x = torch.randn(size, INPUTS, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :CLASSES].argmax(dim=1))


class PlaceholderData(L.LightningDataModule):
    """Rows made on the spot.

    Args:
        size: rows to train on.
        batch_size: rows a batch.
    """

    def __init__(self, size: int = 512, batch_size: int = 8) -> None:
        super().__init__()
        self.size, self.batch_size = size, batch_size

    def train_dataloader(self) -> DataLoader:
        return loader(made(self.size, seed=1), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(made(256, seed=2), 64)
