"""What the data modules of code review share: two splits, each encoded once, as the recipe asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import lightning as L
from torch.utils.data import DataLoader


class SplitData(L.LightningDataModule, ABC):
    """Cases to train on and to validate on.

    Args:
        train: what to train on, one source or several. val: what to validate on; None: no validation.

    Attributes:
        sources: by split. encoded: samples by split, as soon as they are needed.
    """

    def __init__(self, train: str | list[str], val: str | list[str] | None) -> None:
        super().__init__()
        self.sources = {"train": _listed(train), "val": _listed(val)}
        self.encoded: dict[str, Any] = {}
        self._padding = 0
        self._asked: Callable[[], Any] | None = None

    def bind(self, asked: Callable[[], Any]) -> None:
        """Take the recipe's tokenizer and what else it asks for; they are called for when samples are encoded."""
        self._asked = asked

    def setup(self, stage: str | None = None) -> None:
        """Encode with the wording of the recipe that trains on the samples."""
        assert self._asked is not None, "no recipe is bound to the data"
        for split in self._splits(stage):
            if self.sources[split] and split not in self.encoded:
                self.encoded[split] = self._encode(split)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._loader("val", shuffle=False) if self.sources["val"] else []

    def _splits(self, stage: str | None) -> tuple[str, ...]:
        """Those that a stage reads, in order."""
        return ("val",) if stage == "validate" else ("train", "val")

    @abstractmethod
    def _encode(self, split: str) -> Any:
        """The samples of a split, for a data loader."""

    @abstractmethod
    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        """Batches of a split's samples."""


def _listed(source: str | list[str] | None) -> list[str]:
    return [] if source is None else [source] if isinstance(source, str) else list(source)
