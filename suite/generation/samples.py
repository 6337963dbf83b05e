"""Encoded samples for training a language model, and the batches that they are padded to."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from suite.generation.chat import IGNORED, Encoded

_MULTIPLE = 8
"""Batches are padded to a multiple of this many tokens (tensor cores like it)."""


class EncodedSamples(Dataset):
    """Prompts and answers as token ids, in compact arrays: a split of 3,000 documents has 100,000 samples.

    Attributes:
        counts: how many samples there are of each kind. truncated: how many of them were cut.
    """

    def __init__(self) -> None:
        self._ids: list[array[int]] = []
        self._prompts: list[int] = []
        self.truncated: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def add(self, sample: Encoded, kind: str = "") -> None:
        """Append one sample."""
        self._ids.append(array("i", sample.input_ids))
        self._prompts.append(sum(label == IGNORED for label in sample.labels))
        self.counts[kind] += 1
        self.truncated[kind] += sample.truncated

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, both (length,) int64."""
        ids = torch.tensor(self._ids[index], dtype=torch.long)
        labels = ids.clone()
        labels[: self._prompts[index]] = IGNORED
        return {"input_ids": ids, "labels": labels}

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self._ids]


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Pad on the right to a multiple of 8.

    No attention mask: under causal attention no real token sees the padding behind it, and padding has no label.

    Returns:
        `input_ids` and `labels`, both (batch, length).
    """
    longest = max(len(sample["input_ids"]) for sample in samples)
    width = -(-longest // _MULTIPLE) * _MULTIPLE
    padding = {"input_ids": 0, "labels": IGNORED}
    return {
        key: torch.stack(
            [torch.nn.functional.pad(sample[key], (0, width - len(sample[key])), value=value) for sample in samples]
        )
        for key, value in padding.items()
    }
