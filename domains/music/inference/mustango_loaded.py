"""A Mustango with its adapter, loaded once: prompts to waves of ten seconds at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import SpeechT5HifiGan

from domains.music.inference.mustango import sample
from domains.music.model import diffusion, mustango_base
from domains.music.model.encoders import collate_words
from domains.music.model.manifest import Manifest
from domains.music.model.mustango import Condition
from domains.music.types import SAMPLING, Facts, MusicQuery, Wave
from suite import adapters
from suite.errors import InputError

STEPS = 100


class MustangoComposer:
    """A base in parts, its adapter on it where there is one; beats and chords are the empty ones, as it was trained.

    Args:
        folder: of the base. stated: what the adapter says, or would say, of itself.
    """

    rate, channels = mustango_base.RATE, 1
    defaults: Mapping[str, float] = {"guidance": SAMPLING["guidance"], "steps": STEPS}

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
        if not (folder / mustango_base.VOCODER).is_dir():
            raise InputError(f"{folder} has no {mustango_base.VOCODER}, without which spectrograms stay silent")
        self.device = torch.device(device)
        self.model: Any = mustango_base.load(folder, dtype).to(self.device)
        self.encoder = mustango_base.MustangoEncoder(folder)
        self.vae = self.encoder.vae.to(self.device)
        vocoder = SpeechT5HifiGan.from_pretrained(folder / mustango_base.VOCODER, local_files_only=True)
        self.vocoder = vocoder.to(self.device).eval()
        self.schedule = diffusion.scheduler()
        notices = (f"what it was trained on: {stated.trained_on}",) if stated.trained_on else ()
        self.facts = Facts(base, adapter, "mustango", stated.licences, stated.wording, notices)

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
            InputError: more is asked for than the model makes at once, or a recording is to be gone on from.
        """
        if query.seconds > mustango_base.SECONDS:
            raise InputError(
                f"seconds is {query.seconds:g}; Mustango makes {mustango_base.SECONDS:g} at most, MusicGen any length"
            )
        if before is not None:
            raise InputError("Mustango goes on from no recording; take an adapter of MusicGen for that")
        with adapters.disabled(self.model) if frozen and adapters.attached(self.model) else nullcontext():
            latents = sample(
                self.model.unet,
                self.schedule,
                self.conditions(prompts),
                self.conditions([""] * len(prompts), like=prompts),
                self.latent_shape(),
                seeds=seeds,
                steps=query.steps or STEPS,
                guidance=SAMPLING["guidance"] if query.guidance is None else query.guidance,
            )
        return [self.sound(row[None], round(query.seconds * self.rate)) for row in latents]

    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, frames and bands of the latents."""
        frames = round(mustango_base.SECONDS * mustango_base.RATE / mustango_base.HOP)
        halved = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, frames // halved, mustango_base.BANDS // halved

    def conditions(self, prompts: Sequence[str], like: Sequence[str] = ()) -> list[Condition]:
        """Text, beats and chords; padded to the length of the prompts `like` others, where these are given."""
        found = [self.encoder.words(prompt) for prompt in prompts]
        longest = max((len(self.encoder.words(prompt)["text"]) for prompt in like), default=0)
        states, mask = collate_words(found)
        if states.shape[1] < longest:
            more = longest - states.shape[1]
            states = torch.nn.functional.pad(states, (0, 0, 0, more))
            mask = torch.nn.functional.pad(mask, (0, more))
        empty = {name: tensor.to(self.device) for name, tensor in mustango_base.empty_music(len(prompts)).items()}
        dtype = self.model.unet.conv_in.weight.dtype
        parts = {kind: {n.removeprefix(kind): t for n, t in empty.items() if n.startswith(kind)} for kind in KINDS}
        music = self.model.conditions
        return [
            Condition(states.to(self.device, dtype), mask.to(self.device).bool()),
            Condition(music.beats(parts["beat_"]).to(dtype), parts["beat_"]["mask"]),
            Condition(music.chords(parts["chord_"]).to(dtype), parts["chord_"]["mask"]),
        ]

    @torch.inference_mode()
    def sound(self, latents: Tensor, samples: int) -> Wave:
        """The wave (1, samples) of latents (1, channels, frames, bands)."""
        mel = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample[:, 0]  # (1, F, 64)
        wave = self.vocoder(mel.to(next(self.vocoder.parameters()).dtype)).reshape(1, -1)[:, :samples]
        return np.ascontiguousarray(wave.float().cpu().numpy(), dtype=np.float32)


KINDS = ("beat_", "chord_")
