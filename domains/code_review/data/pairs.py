"""Samples of encoder-decoders and encoders: a source, and what is to be made of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from domains.code_review.data.examples import Pair
from suite.generation.chat import IGNORED


class PairSamples(Dataset):
    """Samples in compact arrays.

    Attributes:
        truncated: how many were cut. features: numbers beside each source; empty where there are none.
    """

    def __init__(self) -> None:
        self._sources: list[array[int]] = []
        self._targets: list[array[int]] = []
        self._labels: list[int | None] = []
        self.features: list[tuple[float, ...]] = []
        self.truncated = 0

    def add(self, pair: Pair) -> None:
        """Append one sample."""
        self._sources.append(array("i", pair.source))
        self._targets.append(array("i", pair.target))
        self._labels.append(pair.label)
        self.truncated += pair.truncated

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` (length,), and `labels` (length of the target,), or `needed` () and perhaps `features`."""
        sample = {"input_ids": torch.tensor(self._sources[index], dtype=torch.long)}
        if self._labels[index] is None:
            sample["labels"] = torch.tensor(self._targets[index], dtype=torch.long)
        else:
            sample["needed"] = torch.tensor(self._labels[index])
        if self.features:
            sample["features"] = torch.tensor(self.features[index])
        return sample

    @property
    def lengths(self) -> list[int]:
        """Tokens of source and target together."""
        return [len(source) + len(target) for source, target in zip(self._sources, self._targets, strict=True)]


class PairCollate:
    """Pads on the right, sources and targets each by themselves.

    Args:
        padding: id that fills up sources; nothing sees it.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` (batch, length), `labels` (batch, length of targets) or `needed`."""
        sources = [sample["input_ids"] for sample in samples]
        batch: dict[str, Any] = {
            "input_ids": pad_sequence(sources, batch_first=True, padding_value=self.padding),
            # By length and not by id: in some vocabularies the padding stands in texts, too.
            "attention_mask": pad_sequence([torch.ones_like(source) for source in sources], batch_first=True),
        }
        for name in ("needed", "features"):
            if name in samples[0]:
                batch[name] = torch.stack([sample[name] for sample in samples])
        if "labels" in samples[0]:
            targets = [sample["labels"] for sample in samples]
            batch["labels"] = pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        return batch
