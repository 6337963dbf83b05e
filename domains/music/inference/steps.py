"""The language model a few steps at a time: keys, values and what adapters remember are kept between them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from domains.music.inference.sampling import guided
from domains.music.model.musicgen import MusicGenLM
from suite import adapters
from suite.adapters.methods.additive.sequences import Stream


class CachedSteps:
    """The model, a few steps of the sequence at a time: keys, values and the adapters' memory are kept.

    Args:
        states, mask: text states (B, L, text width) and their mask (B, L).
        guidance: with any but 1 every row runs a second time with the null condition.
    """

    def __init__(self, model: MusicGenLM, states: Tensor, mask: Tensor, guidance: float) -> None:
        self.model, self.guidance = model, guidance
        if guidance != 1:
            states, mask = torch.cat([states, torch.zeros_like(states)]), torch.cat([mask, torch.zeros_like(mask)])
        self.stream = Stream()
        with self._context(valid=mask.bool()):
            self.projected, self.keys = model.condition(states, mask)
        config = model.config
        self.cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, K, vocabulary) of the step after `tokens` (B, K, steps), towards the prompts."""
        doubled = tokens if self.guidance == 1 else torch.cat([tokens, tokens])
        with self._context(stream=self.stream):
            logits = self.model.step(doubled, self.projected, self.keys, self.cache)[:, :, -1].float()
        return logits if self.guidance == 1 else guided(logits, self.guidance)

    def _context(self, **values: object) -> AbstractContextManager[None]:
        return adapters.context(self.model, **values) if adapters.attached(self.model) else nullcontext()
