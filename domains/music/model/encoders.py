"""What MusicGen makes of clips and captions before it trains on them: codes, and states of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import MusicgenForConditionalGeneration

from domains.music.model import bases, codec
from suite import adapters
from suite.errors import InputError

Sample = dict[str, Tensor]

MOST_TOKENS = 512


class MusicGenEncoder:
    """Codec and text encoder of a base, both frozen.

    Attributes:
        rate: Hz. channels: 1 or 2. least: samples of a frame, the shortest wave. longest: seconds of a clip.
        key: both networks by their weights.
    """

    def __init__(self, whole: MusicgenForConditionalGeneration, tokenizer: object) -> None:
        self.whole, self.tokenizer = whole, tokenizer
        audio = whole.audio_encoder.config
        self.rate, self.channels = int(audio.sampling_rate), int(whole.config.decoder.audio_channels)
        self.least, self.longest = int(audio.hop_length), bases.window_frames(whole) / audio.frame_rate
        self.special = int(whole.config.decoder.pad_token_id)
        self.key = "/".join(
            adapters.fingerprint(part) or type(part).__name__ for part in (whole.audio_encoder, whole.text_encoder)
        )

    @torch.no_grad()
    def encode(self, wave: NDArray[np.float32]) -> Sample:
        """A clip (channels, samples) to `codes` (codebooks, frames)."""
        part = self.whole.audio_encoder
        found = torch.from_numpy(np.ascontiguousarray(wave)).to(part.device, part.dtype)
        return {"codes": codec.encode(part, found[None])[0].cpu()}

    @torch.no_grad()
    def words(self, caption: str) -> Sample:
        """A caption to `text` (length, width); an empty one is one zero vector, all of it padding.

        Raises:
            InputError: it is longer than the text encoder reads.
        """
        part = self.whole.text_encoder
        if not caption.strip():
            return {"text": torch.zeros(1, part.config.hidden_size), "text_mask": torch.zeros(1, dtype=torch.long)}
        ids: Tensor = self.tokenizer(caption, return_tensors="pt")["input_ids"]  # type: ignore[operator]
        if ids.shape[1] > MOST_TOKENS:
            raise InputError(
                f"the prompt {caption[:40]!r}... is {ids.shape[1]} tokens long; the text encoder reads {MOST_TOKENS}"
            )
        states = part(input_ids=ids.to(part.device)).last_hidden_state[0]  # (length, width)
        return {"text": states.float().cpu(), "text_mask": torch.ones(len(states), dtype=torch.long)}

    def collate(self, samples: Sequence[Sample]) -> Sample:
        """A batch: codes (B, K, T) padded with the special token, `frames` (B,), text (B, L, width) and its mask."""
        return collate(samples, self.special)


def collate(samples: Sequence[Sample], special: int) -> Sample:
    """Clips and captions side by side, each padded to the longest.

    Raises:
        InputError: a code is none of the codec's.
    """
    if any(int(one["codes"].max()) >= special or int(one["codes"].min()) < 0 for one in samples):
        raise InputError(f"a clip's codes are outside 0 to {special - 1}; they are another codec's: empty data.cache")
    codes = pad_sequence([one["codes"].T for one in samples], batch_first=True, padding_value=special)  # (B, T, K)
    text, mask = collate_words(samples)
    return {
        "codes": codes.transpose(1, 2).contiguous(),
        "frames": torch.tensor([one["codes"].shape[1] for one in samples]),
        "text": text,
        "text_mask": mask,
    }


def collate_words(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Text states (B, L, width) and their mask (B, L)."""
    return (
        pad_sequence([one["text"] for one in samples], batch_first=True),
        pad_sequence([one["text_mask"] for one in samples], batch_first=True),
    )
