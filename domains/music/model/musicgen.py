"""MusicGen's language model: the part of a `MusicgenForConditionalGeneration` that is adapted.

Copet et al., arXiv 2306.05284. Text encoder and codec are frozen and stay outside, so that training from cached codes
and text states needs neither. Modules keep the names that they have in transformers' class: an adapter fits both.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    EncoderDecoderCache,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
)

from domains.music.model import delays
from suite.adapters.methods.additive.sequences import Point

TextPadding = Literal["masked", "audiocraft"]
"""`masked`: padded positions of a prompt are no keys, so that its piece is independent of its batch mates.
`audiocraft`: they are, as zero vectors that take softmax weight, as in the original program."""

WAVEFORM = 32_000
"""Samples to which the published waveform adapter has every piece resampled, whatever its length."""


class MusicGenLM(nn.Module):
    """Decoder and text projection; and a place for adapters on what is heard, which no training here reaches.

    Args:
        config: of the decoder.
        text_width: of the text encoder's states; None where they have the decoder's width already.
        text_padding: what padding of prompts does.
    """

    def __init__(
        self, config: MusicgenDecoderConfig, text_width: int | None = None, text_padding: TextPadding = "masked"
    ) -> None:
        super().__init__()
        config.is_decoder = config.add_cross_attention = True
        self.config, self.text_padding = config, text_padding
        self.decoder = MusicgenForCausalLM._from_config(config)
        projected = text_width not in (None, config.hidden_size)
        self.enc_to_dec_proj: nn.Module = (
            nn.Linear(text_width, config.hidden_size) if projected and text_width else Point(config.hidden_size)
        )
        self.waveform = Point(WAVEFORM)
        self.delays = delays.delays_of(config.num_codebooks, config.audio_channels)
        self.special: int = config.pad_token_id

    @classmethod
    def of(cls, whole: MusicgenForConditionalGeneration, text_padding: TextPadding = "masked") -> MusicGenLM:
        """The language model of a whole MusicGen, sharing its modules."""
        with torch.device("meta"):
            made = cls(whole.config.decoder, whole.config.text_encoder.hidden_size, text_padding)
        made.decoder = whole.decoder
        if isinstance(made.enc_to_dec_proj, nn.Linear):
            made.enc_to_dec_proj = whole.enc_to_dec_proj
        return made

    @property
    def text_width(self) -> int:
        """Of the states that `condition` takes."""
        projection = self.enc_to_dec_proj
        return projection.in_features if isinstance(projection, nn.Linear) else self.config.hidden_size

    def condition(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Text states (B, L, text width) and their mask (B, L) as what the decoder attends to.

        Returns:
            States (B, L, d), zero where padded, and the positions that are keys (None: all). A row of padding alone is
            the null condition: zero vectors, all of them keys.
        """
        # The adapters of the projection know the padding by `valid`, given by the caller as side information.
        projected = self.enc_to_dec_proj(states) * mask[..., None].to(states.dtype)
        if self.text_padding == "audiocraft":
            return projected, None
        keys = mask.bool()
        return projected, keys | ~keys.any(1, keepdim=True)

    def forward(self, sequence: Tensor, states: Tensor, mask: Tensor, **kwargs: Any) -> Tensor:
        """Logits (B, K, S, vocabulary) of a delayed sequence (B, K, S) and a text condition."""
        return self.step(sequence, *self.condition(states, mask), **kwargs)

    def step(
        self, sequence: Tensor, projected: Tensor, keys: Tensor | None, cache: EncoderDecoderCache | None = None
    ) -> Tensor:
        """Logits (B, K, S, vocabulary) of the next steps (B, K, S) and what `condition` gave."""
        batch, books, steps = sequence.shape
        hidden = self.decoder.model(
            sequence.reshape(batch * books, steps),
            encoder_hidden_states=projected,
            encoder_attention_mask=None if keys is None else keys.long(),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # (B, S, d)
        return torch.stack([head(hidden) for head in self.decoder.lm_heads], 1)


def losses(logits: Tensor, wanted: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy as in audiocraft: the mean over codebooks of the mean over their tokens.

    Args:
        logits: (B, K, T, vocabulary), in float32.
        wanted, known: (B, K, T), as `delays.targets` gives them.

    Returns:
        The loss of each codebook (K,), and of each sample (B,) the mean of its own.
    """
    tokens = (
        functional.cross_entropy(
            logits.flatten(0, 2), torch.where(known, wanted, 0).flatten(), reduction="none"
        ).view_as(wanted)
        * known
    )  # (B, K, T)
    per_codebook = tokens.sum((0, 2)) / known.sum((0, 2)).clamp_min(1)
    per_sample = (tokens.sum(2) / known.sum(2).clamp_min(1)).mean(1)
    return per_codebook, per_sample
