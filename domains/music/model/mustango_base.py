"""Mustango in parts, each in a folder of its own as diffusers has them, and what it makes of clips and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, T5EncoderModel
from transformers.audio_utils import mel_filter_bank

from domains.music.model.encoders import Sample, collate_words
from domains.music.model.mustango import Condition, MustangoUNet
from domains.music.model.mustango_conditions import MusicConditions, beat_tokens, chord_tokens
from suite import adapters
from suite.errors import InputError

RATE, HOP, WINDOW, BANDS = 16_000, 160, 1024, 64
SECONDS = 10.24
"""Of a clip; recordings are cut into clips of 10 s, and padded."""
LEVELS = 3
"""Times that the autoencoder halves a spectrogram: 1024 x 64 to 256 x 16."""
PARTS = ("unet", "vae", "text_encoder", "tokenizer")
VOCODER = "vocoder"
"""The part that turns spectrograms into waves; training needs none."""
CONDITIONS = "conditions.safetensors"


class Denoiser(nn.Module):
    """The UNet and the embedding of its beats and chords: what adapters are attached to, and what trains."""

    def __init__(self, unet: MustangoUNet, conditions: MusicConditions) -> None:
        super().__init__()
        self.unet, self.conditions = unet, conditions

    def forward(self, latents: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """What the UNet predicts of latents (B, 8, 256, 16) under a batch's text, beats and chords."""
        dtype = self.unet.conv_in.weight.dtype
        beats = {name.removeprefix("beat_"): batch[name] for name in batch if name.startswith("beat_")}
        chords = {name.removeprefix("chord_"): batch[name] for name in batch if name.startswith("chord_")}
        return self.unet(
            latents.to(dtype),
            timesteps,
            Condition(batch["text"].to(dtype), batch["text_mask"].bool()),
            Condition(self.conditions.beats(beats).to(dtype), beats["mask"]),
            Condition(self.conditions.chords(chords).to(dtype), chords["mask"]),
        )


def shape(architecture: Mapping[str, Any] | None) -> Denoiser:
    """The networks' shape alone, on the device that is current.

    Args:
        architecture: fields of `MustangoUNet` that differ from the released one's.

    Raises:
        InputError: there is no such field.
    """
    given = {name: value for name, value in (architecture or {}).items() if name != "family"}
    try:
        unet = MustangoUNet(**given)
    except TypeError as error:
        raise InputError(f"architecture: {str(error).split('__init__() ')[-1]}; see MustangoUNet") from error
    return Denoiser(unet, MusicConditions(unet.config.cross_attention_dim))


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Denoiser:
    """UNet and conditions of a base.

    Raises:
        InputError: parts are missing.
    """
    missing = [name for name in (*PARTS, CONDITIONS) if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}; a base of Mustango has {', '.join(PARTS)}, {CONDITIONS}"
        )
    unet = MustangoUNet.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True)
    conditions = MusicConditions(unet.config.cross_attention_dim)
    conditions.load_state_dict(load_file(folder / CONDITIONS))
    made = Denoiser(unet, conditions).requires_grad_(False).eval()
    made.name_or_path = str(folder / "unet")
    return made


def save(folder: Path, made: Denoiser, **parts: Any) -> None:
    """The parts of a base into `folder`, each by its name: `vae`, `text_encoder`, `tokenizer`, `vocoder`."""
    for name, part in {"unet": made.unet, **parts}.items():
        part.save_pretrained(folder / name)
    save_file(dict(made.conditions.state_dict()), folder / CONDITIONS)


def spectrogram(wave: Tensor, seconds: float) -> Tensor:
    """Waves (B, samples) at 16 kHz to logarithmic mel spectrograms (B, 1, frames, 64), padded or cut to `seconds`.

    As AudioLDM's: each wave at zero mean and a peak of 0.5, 1024 samples a window, Slaney's bands to 8 kHz.
    """
    frames = round(seconds * RATE / HOP)
    wave = wave - wave.mean(1, keepdim=True)
    wave = 0.5 * wave / wave.abs().amax(1, keepdim=True).clamp_min(1e-8)
    wave = nn.functional.pad(wave, (0, max(0, frames * HOP - wave.shape[1])))[:, : frames * HOP]
    padded = nn.functional.pad(wave[:, None], (WINDOW // 2, WINDOW // 2), mode="reflect")[:, 0]
    window = torch.hann_window(WINDOW, device=wave.device)
    power = torch.stft(padded, WINDOW, HOP, window=window, center=False, return_complex=True).abs()  # (B, 513, F)
    bank = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    bands = torch.from_numpy(bank).to(power).T @ power  # (B, 64, F)
    return bands.clamp_min(1e-5).log().mT[:, None, :frames]


class MustangoEncoder:
    """Autoencoder and text encoder of a base, both frozen; a `ClipEncoder`.

    Attributes:
        rate, channels, least, longest, key: as there.
    """

    rate, channels, least, longest = RATE, 1, WINDOW, 10.0

    def __init__(self, folder: Path) -> None:
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True).requires_grad_(False).eval()
        self.text = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        self.key = "/".join(adapters.fingerprint(part) or type(part).__name__ for part in (self.vae, self.text))

    @torch.no_grad()
    def encode(self, wave: NDArray[np.float32]) -> Sample:
        """A clip (1, samples) to the mean of its latents (8, frames / 4, 16)."""
        mel = spectrogram(torch.from_numpy(np.ascontiguousarray(wave)), SECONDS)
        return {"latents": self.vae.encode(mel).latent_dist.mean[0] * self.vae.config.scaling_factor}

    @torch.no_grad()
    def words(self, caption: str) -> Sample:
        """A caption to `text` (length, width); an empty one is T5's states of the empty text, unlike MusicGen's."""
        ids = self.tokenizer(caption, return_tensors="pt", truncation=True)["input_ids"]
        states = self.text(input_ids=ids).last_hidden_state[0]
        return {"text": states.float(), "text_mask": torch.ones(len(states), dtype=torch.long)}

    def collate(self, samples: Sequence[Sample]) -> Sample:
        """Latents (B, 8, F, 16), text, its mask, and empty beats and chords, as published for recordings without."""
        text, mask = collate_words(samples)
        return {
            "latents": torch.stack([one["latents"] for one in samples]),
            "text": text,
            "text_mask": mask,
            **empty_music(len(samples)),
        }


def is_mustango(folder: Path) -> bool:
    """Whether a folder holds a Mustango in parts."""
    return (folder / CONDITIONS).is_file() and (folder / "unet").is_dir()


def empty_music(batch: int) -> Sample:
    """No beats and no chords, for as many clips."""
    found = {f"beat_{name}": tensor for name, tensor in beat_tokens([], []).items()}
    found |= {f"chord_{name}": tensor for name, tensor in chord_tokens([], []).items()}
    return {name: tensor.expand(batch, *tensor.shape).contiguous() for name, tensor in found.items()}
