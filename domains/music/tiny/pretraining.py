"""Pre-training of the tiny base: the codec on sounds without music, the language model on the old genres.

The codec learns in two stages: an autoencoder first; then codebooks are fitted to what it makes (k-means, a codebook on
what the ones before left), and the decoder learns to read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecModel, MusicgenForConditionalGeneration

from domains.music.data import world
from domains.music.model import codec, delays
from domains.music.model.musicgen import MusicGenLM, losses
from domains.music.tiny import networks
from suite.training.kept import Progress
from suite.training.plain import Schedule, train

AUTOENCODER = tuple(Schedule(400, 12, lr=lr, warmup=20, seed=n) for n, lr in enumerate((2e-3, 1.5e-3, 8e-4)))
DECODER = (Schedule(300, 12, lr=1e-3, warmup=20, seed=20),)
LANGUAGE = Schedule(1600, 8, lr=2e-3, warmup=80, seed=40)
HOP = math.prod(networks.RATIOS)
SEGMENT = 24 * HOP
"""Samples of a segment that the codec trains on."""
NULL = 0.15
"""Share of pieces whose caption is left out, for guidance."""
PIECES = 2000
"""That the language model hears, 8 seconds each."""


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


def difference(made: Tensor, wanted: Tensor) -> Tensor:
    """Of two waves (B, 1, samples): their samples, and their spectra at three resolutions, also logarithmic.

    Every frame of a spectrum counts alike: over all of them at once a melody is so much louder than the strokes of a
    drum that a codec learns to leave these out.
    """
    total = 2 * (made - wanted).abs().mean() / wanted.abs().mean().clamp_min(1e-2)
    for size in (128, 512, 2048):
        window = torch.hann_window(size)
        one, other = (
            torch.stft(wave[:, 0], size, size // 4, window=window, return_complex=True).abs() for wave in (made, wanted)
        )  # (B, bins, frames)
        loud = other.norm(dim=1)
        total = total + ((one - other).norm(dim=1) / (loud + 0.1 * loud.mean())).mean()
        total = total + 0.5 * functional.l1_loss((one + 0.3).log(), (other + 0.3).log())
    return total / 3


def train_autoencoder(model: EncodecModel | None = None, schedule: Schedule = AUTOENCODER[0]) -> EncodecModel:
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
        return difference(model.decoder(latent + noise), wave)

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


def train_decoder(model: EncodecModel, schedule: Schedule = DECODER[0]) -> EncodecModel:
    """The decoder on quantised latents; encoder and codebooks stay."""
    pool, generator = sounds(), torch.Generator().manual_seed(schedule.seed)
    model.requires_grad_(False)
    model.decoder.requires_grad_(True).train()

    def loss() -> Tensor:
        wave = _segments(pool, schedule.batch, generator)
        with torch.no_grad():
            quantised = model.quantizer.decode(codec.encode(model, wave).transpose(0, 1))
        return difference(model.decoder(quantised), wave)

    train("codec's decoder", model, loss, schedule)
    return model.requires_grad_(True).eval()


@dataclass(frozen=True)
class Songs:
    """Pieces of the old genres as codes (N, K, frames), and their captions' words (N, L) with their mask."""

    codes: Tensor
    words: Tensor
    mask: Tensor

    @classmethod
    def of(cls, audio: EncodecModel, file: Path, count: int = PIECES) -> Songs:
        """From a file, which is written where it is not there."""
        if not file.is_file():
            pieces = [world.piece("train", number) for number in range(count)]
            waves = torch.stack([torch.from_numpy(piece.sound()) for piece in pieces])
            codes = torch.cat([codec.encode(audio, part) for part in waves.split(8)])  # (N, K, 200)
            words = networks.tokenizer()([piece.caption for piece in pieces], padding=True, return_tensors="pt")
            save_file({"codes": codes, "words": words["input_ids"], "mask": words["attention_mask"]}, file)
        return cls(**load_file(file))


def train_language_model(
    whole: MusicgenForConditionalGeneration, songs: Songs, schedule: Schedule = LANGUAGE, kept: Path | None = None
) -> None:
    """Text encoder and decoder together; MusicGen's own T5 is trained before and frozen.

    Args:
        kept: a file from which a training that was stopped goes on.
    """
    model = MusicGenLM.of(whole)
    both = nn.ModuleList([model, whole.text_encoder]).train()
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
    train("language model", both, loss, schedule, progress=progress)
    progress.finish()
    both.eval()
