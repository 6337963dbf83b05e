"""A MusicGen with its adapter, loaded once: prompts to waves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import MusicgenForConditionalGeneration

from domains.music.inference.sampling import Sampling
from domains.music.inference.session import Windows, generate
from domains.music.model import bases, codec
from domains.music.model.attachments import SEQUENCE
from domains.music.model.encoders import MusicGenEncoder, collate_words
from domains.music.model.manifest import WEIGHTS_LICENCE, Manifest
from domains.music.model.musicgen import WAVEFORM
from domains.music.types import SAMPLING, Composer, Facts, MusicQuery, Wave
from suite import adapters
from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.media import audio
from suite.prediction.loading import choose

CONTEXT = 0.4
"""Share of a window that the next one of a long piece goes on from: 12 of 30 seconds."""
SETTINGS = {"guidance": "guidance_scale"}
"""What transformers' generation settings call an option otherwise."""


def load(adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto") -> Composer:
    """A base with its adapter, ready to compose, whichever model it is.

    Args:
        adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
        device: auto, cpu, cuda or cuda:N. dtype: auto (bfloat16 on a GPU, else float32), float32, bfloat16 or float16.

    Raises:
        InputError: adapter or base does not exist, or they do not belong together.
    """
    chosen = choose(adapter, base, bases.DOMAIN)
    stated = Manifest.from_dict(chosen.settings, chosen.folder)
    where = choose_device(device)
    kind = choose_dtype(dtype, where)
    folder = chosen.base_folder()
    if stated.family == "mustango":
        from domains.music.inference.mustango_loaded import MustangoComposer

        played = MustangoComposer(folder, stated, base=chosen.base, adapter=adapter, device=where, dtype=kind)
        played.model = adapters.load(played.model, chosen.folder).eval()
        return played
    loaded = MusicGenComposer(folder, stated, base=chosen.base, adapter=adapter, device=where, dtype=kind)
    stated.check(loaded.model.config.num_codebooks, loaded.model.config.hidden_size, adapter)
    loaded.model = adapters.load(loaded.model, chosen.folder).eval()
    return loaded


class MusicGenComposer:
    """A base, its adapter on it where there is one.

    Args:
        folder: of the base. stated: what the adapter says, or would say, of itself.
    """

    def __init__(
        self,
        folder: Path,
        stated: Manifest,
        *,
        base: str,
        adapter: str = "",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        whole = bases.load(folder, dtype).to(device)
        model = bases.language_model(whole, "audiocraft" if stated.text_padding == "audiocraft" else "masked")
        self._hold(model, MusicGenEncoder(whole, bases.tokenizer(folder)))
        licences = stated.licences or (() if base == "tiny" else (WEIGHTS_LICENCE,))
        self.facts = Facts(base, adapter, "musicgen", tuple(licences), stated.wording, _notices(stated, adapter))

    @classmethod
    def of(cls, model: Any, encoder: MusicGenEncoder) -> Self:
        """One that plays what is loaded already, as it is: a model in training."""
        made = cls.__new__(cls)
        made._hold(model, encoder)
        made.facts = Facts("")
        return made

    def _hold(self, model: Any, encoder: MusicGenEncoder) -> None:
        self.model, self.encoder, self.codec = model, encoder, encoder.whole.audio_encoder
        self.rate, self.channels = encoder.rate, encoder.channels
        self.defaults = defaults_of(encoder.whole)
        self.windows = windows_of(encoder.whole)

    @property
    def device(self) -> torch.device:
        """Where it composes."""
        return next(self.model.parameters()).device

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return int(self.codec.config.hop_length)

    def compose(
        self,
        prompts: Sequence[str],
        query: MusicQuery,
        *,
        seeds: Sequence[int],
        before: Wave | None = None,
        frozen: bool = False,
    ) -> list[Wave]:
        """One wave a prompt, as `Composer` says.

        Raises:
            InputError: a prompt is too long, or `before` leaves nothing to make.
        """
        samples, asked = round(query.seconds * self.rate), query.filled(self.defaults)
        how = Sampling(**{name: getattr(asked, name) for name in SAMPLING})
        states, mask = (part.to(self.device) for part in self.states(prompts))
        prompt = None if before is None else self.codes(before).expand(len(prompts), -1, -1)
        with adapters.disabled(self.model) if frozen and adapters.attached(self.model) else nullcontext():
            codes = generate(
                self.model,
                states.to(self.dtype),
                mask,
                codec.frames_of(samples, self.hop),
                how,
                seeds=list(seeds),
                prompt=prompt,
                windows=self.windows,
            )
            return [self.sound(row[None], samples, plain=frozen) for row in codes]

    @property
    def dtype(self) -> torch.dtype:
        """Of the base's weights."""
        return next(self.model.decoder.parameters()).dtype

    def states(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text states (B, L, width) and their mask (B, L)."""
        return collate_words([self.encoder.words(prompt) for prompt in prompts])

    def codes(self, wave: Wave) -> Tensor:
        """Codes (1, K, frames) of a recording, a window at a time, so that its length takes no memory.

        Raises:
            InputError: it is shorter than a frame.
        """
        if wave.shape[1] < self.hop:
            raise InputError(f"the recording to go on from has {wave.shape[1]} samples; a frame has {self.hop}")
        step = self.windows.length * self.hop
        parts = [wave[:, start : start + step] for start in range(0, wave.shape[1], step)]
        return torch.cat([self.encoder.encode(part)["codes"] for part in parts], -1)[None].to(self.device)

    def sound(self, codes: Tensor, samples: int, *, plain: bool = False) -> Wave:
        """The wave (channels, samples) of codes (1, K, frames); `plain` passes by an adapter on the waveform."""
        wave = codec.decode(self.codec, codes, samples, self.channels)[0].float()  # (channels, samples)
        adapted = adapters.attached(self.model) and not plain
        layers = adapters.layers(self.model, SEQUENCE["linear"]) if adapted else []
        if any(layer.target == "waveform" for _, layer in layers):
            wave = self.through_waveform(wave)
        return np.ascontiguousarray(wave.cpu().numpy(), dtype=np.float32)

    @torch.no_grad()
    def through_waveform(self, wave: Tensor) -> Tensor:
        """A wave (channels, samples) through the published adapter, for which it has a number of samples of its own."""
        known, wanted = wave.shape[1], WAVEFORM
        there = torch.from_numpy(audio.resample(wave.cpu().numpy(), known, wanted)[:, :wanted])
        there = torch.nn.functional.pad(there, (0, wanted - there.shape[1])).to(wave.device)
        back = self.model.waveform(there[:, None])[:, 0].cpu().numpy()
        again = torch.from_numpy(audio.resample(back, wanted, known)[:, :known])
        return torch.nn.functional.pad(again, (0, known - again.shape[1])).to(wave.device)


def windows_of(whole: MusicgenForConditionalGeneration) -> Windows:
    """The windows of a base."""
    length = bases.window_frames(whole)
    return Windows(length, length - max(1, math.floor(CONTEXT * length)))


def defaults_of(whole: MusicgenForConditionalGeneration) -> Mapping[str, float]:
    """How a base's generation settings say that it is sampled, MusicGen's own way where they don't."""
    said = {name: getattr(whole.generation_config, SETTINGS.get(name, name), None) for name in SAMPLING}
    return {name: SAMPLING[name] if value is None else value for name, value in said.items()}


def _notices(stated: Manifest, adapter: str) -> tuple[str, ...]:
    found = []
    if stated.wording:
        found.append(f"prompts of {adapter} read like: {stated.wording}")
    return tuple(found)
