"""Cached steps in memory that stays where it is, so that a GPU can record one and replay it.

A step of a language model in half precision is many small kernels, each of which takes longer to launch than to run.
Recorded as one CUDA graph they are launched at once. What changes from step to step (the tokens, the position, keys and
values, what causal adapters remember) is written into the same tensors each time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from domains.music.inference.sampling import guided
from domains.music.inference.steps import CachedSteps
from domains.music.model.musicgen import MusicGenLM
from suite import adapters

GROWING = ("attention_adapter",)
"""Methods whose memory grows with the piece, which nothing recorded can do."""
WARM_UP = 2
"""Runs before a recording, in which libraries get their workspace."""


def recordable(model: MusicGenLM) -> bool:
    """Whether no adapter of a model remembers more with every step."""
    if not adapters.attached(model):
        return True
    return not any(adapters.layers(model, method) for method in GROWING)


class RecordedSteps(CachedSteps):
    """`CachedSteps` with room for `capacity` steps from the start; on a GPU single steps are replayed.

    Args:
        capacity: steps of the whole sequence.
    """

    def __init__(self, model: MusicGenLM, states: Tensor, mask: Tensor, guidance: float, capacity: int) -> None:
        super().__init__(model, states, mask, guidance)
        static = StaticCache(config=model.config, max_cache_len=capacity)
        self.cache = EncoderDecoderCache(static, DynamicCache(config=model.config))
        rows, books = len(self.projected), len(model.delays)
        self.device = self.projected.device
        self.places = torch.arange(capacity, device=self.device)
        self.position = torch.zeros(1, dtype=torch.long, device=self.device)
        self.tokens = torch.zeros(rows, books, 1, dtype=torch.long, device=self.device)
        self.done = 0
        self.graph: Any = None
        self.logits = torch.empty(0)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, K, vocabulary) of the step after `tokens` (B, K, steps), towards the prompts."""
        doubled = tokens if self.guidance == 1 else torch.cat([tokens, tokens])
        steps = tokens.shape[-1]
        with self._context(stream=self.stream):
            if steps > 1 or self.done == 0:
                logits = self._several(doubled)
            else:
                self.tokens.copy_(doubled)
                self.position.fill_(self.done)
                logits = self._replayed() if self.device.type == "cuda" else self._single()
        self.done += steps
        return logits.float() if self.guidance == 1 else guided(logits.float(), self.guidance)

    def _several(self, tokens: Tensor) -> Tensor:
        """Several steps at once, as the prompt is: (B, K, vocabulary) of the last."""
        places = torch.arange(self.done, self.done + tokens.shape[-1], device=self.device)
        return self._through(tokens, places)

    def _single(self) -> Tensor:
        return self._through(self.tokens, self.position)

    def _through(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The decoder's own layers on `tokens` (B, K, s) at `places` (s,); no number of them is in the kernels."""
        decoder = self.model.decoder.model.decoder
        embedded = sum(embed(tokens[:, book]) for book, embed in enumerate(decoder.embed_tokens))
        hidden = embedded + decoder.embed_positions.weights[places].to(embedded.dtype)  # (B, s, d)
        seen = (self.places[None] <= places[:, None])[None, None]  # (1, 1, s, capacity)
        keys = None if self.keys is None else self.keys[:, None, None]  # (B, 1, 1, L)
        for layer in decoder.layers:
            hidden = layer(
                hidden, seen, self.projected, encoder_attention_mask=keys, past_key_values=self.cache, use_cache=True
            )
        last = decoder.layer_norm(hidden)[:, -1]  # (B, d)
        return torch.stack([head(last) for head in self.model.decoder.lm_heads], 1)

    def _replayed(self) -> Tensor:
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.logits

    def _record(self) -> None:
        """Record a step. The runs before it change what is remembered, which is put back."""
        kept = [(tensor, tensor.clone()) for tensor in self._remembered()]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._single()
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, before in kept:
            tensor.copy_(before)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._single()

    def _remembered(self) -> list[Tensor]:
        """What a step changes beside keys and values, which the next one at this place overwrites."""
        counts = [layer.cumulative_length for layer in self.cache.self_attention_cache.layers]
        return [*counts, *(tensor for state in self.stream.states.values() for tensor in state.values())]


def steps_of(model: MusicGenLM, states: Tensor, mask: Tensor, guidance: float, capacity: int) -> CachedSteps:
    """The steps that suit the device and the adapters."""
    if states.device.type == "cuda" and recordable(model):
        return RecordedSteps(model, states, mask, guidance, capacity)
    return CachedSteps(model, states, mask, guidance)
