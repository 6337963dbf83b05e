"""Pre-training of the tiny base: the codec on sounds without music, the language model on the old genres.

The codec learns in two stages: an autoencoder first; then codebooks are fitted to what it makes (k-means, a codebook on
what the ones before left), and the decoder learns to read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecModel, MusicgenForConditionalGeneration

from domains.music.data import world
from domains.music.evaluation.spectral import mel_filters
from domains.music.model import codec, delays
from domains.music.model.musicgen import MusicGenLM, losses
from domains.music.tiny import networks
from suite.hub import weights
from suite.training.kept import Progress
from suite.training.muon import optimizers_of
from suite.training.plain import Schedule, train


@dataclass(frozen=True)
class Round:
    """A round of the codec's training: encoder and decoder, codebooks of what these make, and the decoder once more.

    Attributes:
        ear: how much the bands of the ear's scale count. With much the codec learns the strokes of the drum, which are
            low and short; with little it learns to tell pitches.
        autoencoder: one part after another. decoder: on quantised latents.
    """

    ear: float
    autoencoder: tuple[Schedule, ...]
    decoder: Schedule


_READING = Schedule(300, 12, lr=1e-3, warmup=20, seed=20)
ROUNDS = (
    Round(2.0, tuple(Schedule(700, 12, lr=lr, warmup=20, seed=n) for n, lr in enumerate((2e-3, 1e-3))), _READING),
    Round(0.5, (Schedule(900, 12, lr=1.5e-3, warmup=20, seed=2),), _READING),
)
LANGUAGE = Schedule(5000, 8, lr=3e-3, warmup=80, seed=40)
EMBEDDING_LR = 2e-3
"""Peak rates of matrices (Muon) and of everything else (AdamW)."""
HOP = math.prod(networks.RATIOS)
SEGMENT = 24 * HOP
"""Samples of a segment that the codec trains on."""
NULL = 0.15
"""Share of pieces whose caption is left out, for guidance."""
PIECES, PART = 6000, 500
"""Pieces that the language model hears, 8 seconds each, and how many of them are encoded at once."""


def sounds(count: int = 400, seconds: float = 4.0) -> Tensor:
    """What the codec trains on (count, samples): exercises, and as many pieces of the old genres."""
    made = [
        world.piece("train", number // 2).sound(seconds) if number % 2 else world.exercise(number, seconds)
        for number in range(count)
    ]
    return torch.stack([torch.from_numpy(wave[0]) for wave in made])


def _segments(pool: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """(batch, 1, SEGMENT); they begin with a frame, as everything in the made world does."""
    rows = torch.randint(len(pool), (batch,), generator=generator).tolist()
    starts = (HOP * torch.randint((pool.shape[1] - SEGMENT) // HOP + 1, (batch,), generator=generator)).tolist()
    return torch.stack([pool[r, s : s + SEGMENT] for r, s in zip(rows, starts, strict=True)])[:, None]


def difference(made: Tensor, wanted: Tensor, ear: float = 1.0) -> Tensor:
    """Of two waves (B, 1, samples): their samples, and their spectra at three resolutions, also in decibels and mel.

    Every frame of a spectrum counts alike, and so does every band of the ear's scale: over all frames at once a melody
    is so much louder than the strokes of a drum, and in hertz it is so much wider, that a codec leaves these out.
    """
    total = 2 * (made - wanted).abs().mean() / wanted.abs().mean().clamp_min(1e-2)
    for size, bands in ((128, 12), (512, 32), (2048, 64)):
        window = torch.hann_window(size)
        one, other = (
            torch.stft(wave[:, 0], size, size // 4, window=window, return_complex=True).abs() for wave in (made, wanted)
        )  # (B, bins, frames)
        loud = other.norm(dim=1)
        total = total + ((one - other).norm(dim=1) / (loud + 0.1 * loud.mean())).mean()
        total = total + 0.5 * functional.l1_loss((one + 0.3).log(), (other + 0.3).log())
        low, high = (_mel(size, bands) @ spectrum for spectrum in (one, other))  # (B, bands, frames)
        total = total + ear * functional.l1_loss((low + 0.3).log(), (high + 0.3).log())
    return total / 3


@lru_cache
def _mel(size: int, bands: int) -> Tensor:
    """(bands, size / 2 + 1)."""
    return torch.from_numpy(mel_filters(world.RATE, size, bands, 30.0, 0.5 * world.RATE)).float()


def train_autoencoder(model: EncodecModel | None, schedule: Schedule, ear: float) -> EncodecModel:
    """Encoder and decoder, nothing between them; a new one, or one that was trained before."""
    torch.manual_seed(schedule.seed)
    model, pool = (model or EncodecModel(networks.codec_config())).train(), sounds()
    generator = torch.Generator().manual_seed(schedule.seed)
    coder = nn.ModuleList([model.encoder, model.decoder])

    def loss() -> Tensor:
        wave = _segments(pool, schedule.batch, generator)
        latent = model.encoder(wave)
        # Codebooks will move every latent a little.
        noise = 0.1 * latent.detach().std() * torch.randn(latent.shape, generator=generator)
        return difference(model.decoder(latent + noise), wave, ear)

    train("autoencoder", coder, loss, schedule)
    return model.eval()


@torch.no_grad()
def fit_codebooks(model: EncodecModel, rounds: int = 25, seed: int = 0) -> None:
    """k-means of the latents, then of what the codebooks before left of them."""
    generator = torch.Generator().manual_seed(seed)
    pool = sounds()
    latents = torch.cat([codec.latent(model, wave[:, None]).transpose(1, 2).flatten(0, 1) for wave in pool.split(20)])
    left = latents[torch.randperm(len(latents), generator=generator)[:24000]]  # (N, hidden)
    for layer in model.quantizer.layers:
        book = left[torch.randperm(len(left), generator=generator)[: networks.CODES]].clone()
        for _ in range(rounds):
            nearest = torch.cdist(left, book).argmin(1)
            sums = torch.zeros_like(book).index_add_(0, nearest, left)
            counts = torch.bincount(nearest, minlength=len(book))
            means = sums / counts.clamp_min(1)[:, None]
            strays = left[torch.randint(len(left), (len(book),), generator=generator)]
            book = torch.where(counts[:, None] > 0, means, strays)
        layer.codebook.embed.copy_(book)
        layer.codebook.inited.fill_(1)
        left = left - book[torch.cdist(left, book).argmin(1)]


def train_decoder(model: EncodecModel, schedule: Schedule, ear: float) -> EncodecModel:
    """The decoder on quantised latents; encoder and codebooks stay."""
    pool, generator = sounds(), torch.Generator().manual_seed(schedule.seed)
    model.requires_grad_(False)
    model.decoder.requires_grad_(True).train()

    def loss() -> Tensor:
        wave = _segments(pool, schedule.batch, generator)
        with torch.no_grad():
            quantised = model.quantizer.decode(codec.encode(model, wave).transpose(0, 1))
        return difference(model.decoder(quantised), wave, ear)

    train("codec's decoder", model, loss, schedule)
    return model.requires_grad_(True).eval()


@dataclass(frozen=True)
class Songs:
    """Pieces of the old genres as codes (N, K, frames), and their captions' words (N, L) with their mask."""

    codes: Tensor
    words: Tensor
    mask: Tensor

    @classmethod
    def of(cls, audio: EncodecModel, folder: Path, count: int = PIECES) -> Songs:
        """From the parts in a folder, each of which is written where it is not there."""
        parts = [
            _encoded(audio, range(first, min(first + PART, count)), folder / f"{first:05d}.safetensors")
            for first in range(0, count, PART)
        ]
        captions = [world.piece("train", number).caption for number in range(count)]
        words = networks.tokenizer()(captions, padding=True, return_tensors="pt")
        return cls(torch.cat(parts), words["input_ids"], words["attention_mask"])


@torch.no_grad()
def _encoded(audio: EncodecModel, numbers: range, file: Path) -> Tensor:
    """Codes (N, K, frames) of the pieces of these numbers."""
    if not file.is_file():
        waves = torch.stack([torch.from_numpy(world.piece("train", number).sound()) for number in numbers])
        codes = torch.cat([codec.encode(audio, part) for part in waves.split(4)])
        file.parent.mkdir(parents=True, exist_ok=True)
        weights.write({"codes": codes.to(torch.int16)}, file)
    return weights.read(file)["codes"].long()


def train_language_model(
    whole: MusicgenForConditionalGeneration, songs: Songs, schedule: Schedule = LANGUAGE, kept: Path | None = None
) -> None:
    """Text encoder and decoder together; MusicGen's own T5 is trained before and frozen.

    Args:
        kept: a file from which a training that was stopped goes on.
    """
    model = MusicGenLM.of(whole)
    both = nn.ModuleList([model, whole.text_encoder]).train()
    tables = [module.weight for module in both.modules() if isinstance(module, nn.Embedding)]
    tables += [head.weight for head in model.decoder.lm_heads]
    optimizers, _ = optimizers_of(both, schedule.lr, EMBEDDING_LR, tables)
    generator = torch.Generator().manual_seed(schedule.seed)

    def loss() -> Tensor:
        rows = torch.randint(len(songs.codes), (schedule.batch,), generator=generator)
        codes, words, mask = songs.codes[rows], songs.words[rows], songs.mask[rows].clone()
        states = whole.text_encoder(input_ids=words, attention_mask=mask).last_hidden_state
        mask[torch.rand(len(rows), generator=generator) < NULL] = 0
        wanted, known = delays.targets(codes, model.special, model.delays)
        sequence = delays.delayed(codes, model.special, model.delays)[..., :-1]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(sequence, states, mask)
        return losses(logits.float(), wanted, known)[0].mean()

    progress = Progress(kept, generator, f"{schedule} {len(songs.codes)}")
    train("language model", both, loss, schedule, progress=progress, optimizers=optimizers)
    progress.finish()
    both.eval()
