"""Rows of a batch in the middle of generation: their keys and values, and which columns hold a token of theirs.

Rows have different lengths, so each has columns that hold nothing: left padding, and gaps where a shared prefix was
padded to the longest one. Masks and explicit position ids make every row compute what it would compute alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from suite.generation.attention import HALF

Layers = list[tuple[Tensor, Tensor]]
ROOM = 64
"""Columns that a layer has for tokens to come: it is copied once for so many instead of once for each."""


class GrowingLayer(DynamicLayer):
    """Keys and values of a layer, at the beginning of tensors that have room for more.

    The tensors that it begins with are never written to, nor copied before something is appended.
    """

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states, value_states
        self._rooms: list[Tensor] = []
        self._own: tuple[Tensor, Tensor] = (self.keys, self.values)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append (B, heads, S, d); return all, (B, heads, T, d) each."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            return self.keys, self.values
        if self.device.type == "cpu" and self.dtype in HALF:
            return super().update(key_states, value_states)  # products of parts of tensors would copy them every time
        held = self.keys.shape[2]
        total = held + key_states.shape[2]
        parts = ((self.keys, key_states), (self.values, value_states))
        # Whoever takes rows or columns out of a cache puts other tensors in the place of these.
        if not self._rooms or self._rooms[0].shape[2] < total or not self._holds_its_own():
            self._rooms = []
            for old, _ in parts:
                room = old.new_empty((*old.shape[:2], total + ROOM, old.shape[3]))
                room[:, :, :held] = old
                self._rooms.append(room)
        for room, (_, new) in zip(self._rooms, parts, strict=True):
            room[:, :, held:total] = new
        keys, values = (room[:, :, :total] for room in self._rooms)
        self.keys, self.values = self._own = keys, values
        return keys, values

    def _holds_its_own(self) -> bool:
        return self.keys is self._own[0] and self.values is self._own[1]


class Rows:
    """Keys and values of some rows.

    Attributes:
        mask: (B, T) bool, True where a column holds a token of the row.
        cache: per layer keys and values (B, heads, T, D); empty before the first forward.
    """

    def __init__(self, mask: Tensor, layers: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        self.mask = mask
        self.cache = DynamicCache()
        self.cache.layer_class_to_replicate = GrowingLayer
        for place, (keys, values) in enumerate(layers):
            self.cache.update(keys, values, place)

    @classmethod
    def empty(cls, count: int, device: torch.device) -> Rows:
        return cls(torch.zeros(count, 0, dtype=torch.bool, device=device))

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def layers(self) -> Layers:
        return [(layer.keys, layer.values) for layer in self.cache.layers]

    def select(self, rows: Sequence[int]) -> Rows:
        """Return these rows, in this order, without the columns that none of them uses."""
        if len(self) == 1:  # seen as often as it is wanted: what is appended goes into tensors of its own
            mask = self.mask.expand(len(rows), -1)
            layers = [
                (keys.expand(len(rows), -1, -1, -1), values.expand(len(rows), -1, -1, -1))
                for keys, values in self.layers
            ]
        else:
            chosen = torch.tensor(rows, device=self.mask.device)
            mask = self.mask[chosen]
            layers = [(keys[chosen], values[chosen]) for keys, values in self.layers]
        columns = mask.any(dim=0).nonzero().squeeze(1)
        if len(columns) == mask.shape[1]:
            return Rows(mask, layers)
        return Rows(mask[:, columns], [(keys[:, :, columns], values[:, :, columns]) for keys, values in layers])

    def forward(self, model: Callable[..., Any], ids: Tensor, real: Tensor, *, last: bool = False) -> Tensor:
        """Append tokens to every row and return the logits (B, V) behind the last column, in fp32.

        Args:
            model: of transformers, called as one is.
            ids: (B, S) token ids, padded on the left.
            real: (B, S) bool, False on the padding.
            last: nothing is appended any more, so that no keys and values need be kept.
        """
        positions = self.mask.sum(dim=1, keepdim=True) + real.cumsum(dim=1) - 1
        self.mask = torch.cat([self.mask, real], dim=1)
        keep = not last or bool(self.cache.layers)
        outputs: Any = model(
            input_ids=ids,
            attention_mask=self.mask.long(),
            position_ids=positions.clamp(min=0),
            past_key_values=self.cache if keep else None,
            use_cache=keep,
            logits_to_keep=1,
        )
        return outputs.logits[:, -1].float()


def opened(model: nn.Module) -> tuple[Any, Rows]:
    """The model that is asked, and one row of what stands before every prompt.

    peft's prompt methods put their virtual tokens in front at every forward; beside a cache of our own they are
    forwarded once, and the base inside is asked.
    """
    peft: Any = model
    device = next(model.parameters()).device
    if not getattr(model, "_is_prompt_learning", False) or peft._adapters_disabled:
        return model, Rows.empty(1, device)
    prompt = peft.get_prompt(batch_size=1)
    if isinstance(prompt, Tensor):  # (1, virtual, width)
        row = Rows(torch.ones(prompt.shape[:2], dtype=torch.bool, device=device))
        peft.base_model(inputs_embeds=prompt, past_key_values=row.cache, use_cache=True, logits_to_keep=1)
        return peft.base_model, row
    layers = [(layer.keys, layer.values) for layer in prompt.layers]  # (1, heads, virtual, D) each
    return peft.base_model, Rows(torch.ones(1, layers[0][0].shape[2], dtype=torch.bool, device=device), layers)


def join(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one below the other, each padded on the left to the longest part.

    The parts stay as they are, whatever becomes of the rows.
    """
    if len(parts) == 1:
        return Rows(parts[0].mask, parts[0].layers)
    width = max(part.mask.shape[1] for part in parts)
    mask = torch.cat([nn.functional.pad(part.mask, (width - part.mask.shape[1], 0)) for part in parts])
    layers = []
    for per_part in zip(*(part.layers for part in parts), strict=True):
        padded = [[_pad(tensor, width) for tensor in pair] for pair in per_part]
        layers.append((torch.cat([pair[0] for pair in padded]), torch.cat([pair[1] for pair in padded])))
    return Rows(mask, layers)


def _pad(tensor: Tensor, width: int) -> Tensor:
    """Pad (B, heads, T, D) to `width` columns with zeros on the left."""
    return nn.functional.pad(tensor, (0, 0, width - tensor.shape[2], 0))


def left_pad(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids (B, S) with zeros on the left, and the bool mask (B, S) of the real ones."""
    width = max(map(len, sequences))
    ids = torch.tensor([[0] * (width - len(sequence)) + list(sequence) for sequence in sequences], device=device)
    real = torch.tensor([[False] * (width - len(s)) + [True] * len(s) for s in sequences], device=device)
    return ids, real
