"""Several short texts in one row without seeing each other: no padding is computed, and nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.generation.samples import EncodedSamples
from suite.generation.samples import collate as padded
from suite.training.batching import loader

Sample = Mapping[str, Tensor]
"""`input_ids` and `labels`, each (length,) int64."""


class PackedDataset(Dataset):
    """Rows of at most `max_length` tokens, each made of whole samples.

    First fit over decreasing lengths (Johnson 1973): at most 11/9 of the smallest number of rows.

    Args:
        samples: dicts with `input_ids` and `labels`, each (length,).
        max_length: tokens of a row.

    Raises:
        InputError: there is no sample, or one is longer than a row.
    """

    def __init__(self, samples: Sequence[Sample], max_length: int) -> None:
        self.samples = samples
        self.rows = first_fit([len(sample["input_ids"]) for sample in samples], max_length)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One row: `input_ids`, `labels`, `segments` (which sample a token is of); each (tokens,)."""
        members = [self.samples[member] for member in self.rows[index]]
        lengths = [len(member["input_ids"]) for member in members]
        labels = [member["labels"].clone() for member in members]
        for own in labels:
            # The last token before would otherwise be asked for the first of the next sample.
            own[0] = IGNORED
        return {
            "input_ids": torch.cat([member["input_ids"] for member in members]),
            "labels": torch.cat(labels),
            "segments": torch.repeat_interleave(torch.arange(len(members)), torch.tensor(lengths)),
        }


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of the samples in each row, longest samples first.

    Raises:
        InputError: there is no sample, or one exceeds the capacity.
    """
    if not lengths:
        raise InputError("there is no text to pack; check the data section of the configuration")
    if max(lengths) > capacity:
        raise InputError(
            f"a text of {max(lengths)} tokens does not fit a row of {capacity}; cut it or raise the length"
        )
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, left in enumerate(room) if left >= lengths[index]), None)
        if place is None:
            rows.append([])
            room.append(capacity)
            place = len(rows) - 1
        rows[place].append(index)
        room[place] -= lengths[index]
    return rows


def collate(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """A batch for any causal language model of transformers: `lm_outputs(model, batch)` or `model(**batch)`.

    There is no mask in it. Positions begin anew with every text, from which transformers makes each layer's mask, its
    window included; the boundaries serve attention that needs none (see `suite.training.attention`).

    Returns:
        `input_ids`, `labels`, `position_ids`: (batch, longest); `cu_seq_lens_q` and `_k`: (texts + 1,) int32, where
        texts begin in the flattened batch, the filling of a row counted as one; `max_length_q` and `_k`: tokens of the
        longest; `use_cache`: False, since with a cache transformers would take a row for one text.
    """
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> Tensor:
        return torch.stack(
            [torch.nn.functional.pad(row[name], (0, longest - len(row[name])), value=value) for row in rows]
        )

    segments = padded("segments", -1)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = begins.flatten().nonzero().squeeze(1)
    boundaries = torch.nn.functional.pad(starts, (0, 1), value=segments.numel()).int()
    # Position of a token: its place in the row less that of its text's first.
    places = torch.arange(longest).expand_as(segments)
    positions = places - torch.where(begins, places, 0).cummax(1).values
    longest_text = int(boundaries.diff().max())
    return {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", IGNORED),
        "position_ids": positions,
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": longest_text,
        "max_length_k": longest_text,
        "use_cache": False,
    }


def text_loader(
    samples: EncodedSamples, batch_size: int, shuffle: bool, max_tokens: int | None, packed_to: int | None = None
) -> DataLoader:
    """Batches of encoded texts: padded, those of like lengths together, or packed.

    Args:
        max_tokens: of a padded batch.
        packed_to: tokens of a row that texts are packed into; None pads them instead.
    """
    if packed_to is not None:
        packed = PackedDataset(cast("Sequence[dict[str, Tensor]]", samples), packed_to)
        return loader(packed, batch_size, shuffle=shuffle, collate_fn=collate)
    bounds: dict[str, Any] = {"lengths": samples.lengths, "max_tokens": max_tokens, "collate_fn": padded}
    return loader(samples, batch_size, shuffle=shuffle, **bounds)
