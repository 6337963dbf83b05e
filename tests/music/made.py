"""Recordings, tables and an encoder for tests of music."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from domains.music.data import world
from domains.music.data.encoding import Sample
from domains.music.types import SAMPLING, Facts, MusicQuery, Wave
from suite.errors import InputError
from suite.media import audio

MBIDS = [f"{number:08x}-1111-4222-8333-444444444444" for number in range(12)]


def tone(path: Path, seconds: float = 2.0, *, rate: int = 8000, channels: int = 1, hertz: float = 330.0) -> Path:
    """A recording of one tone."""
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    audio.write(path, np.repeat(wave[None], channels, axis=0).astype(np.float32), rate)
    return path


def folder(root: Path, count: int = 4, seconds: float = 2.0) -> Path:
    """A folder of recordings, each with its caption in a text beside it."""
    for number in range(count):
        path = tone(root / f"piece{number}.wav", seconds, hertz=200 + 40 * number)
        path.with_suffix(".txt").write_text(f"a tone number {number}\n", encoding="utf-8")
    return root


class FakeEncoder:
    """Codes that a test can foresee: the sign of each frame's sum."""

    rate, channels, least, longest, key = 8000, 1, 160, 4.0, "fake"

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.said: list[str] = []

    def encode(self, wave: Wave) -> Sample:
        self.encoded.append(wave.shape[1])
        frames = -(-wave.shape[1] // self.least)
        padded = np.pad(wave[0], (0, frames * self.least - wave.shape[1]))
        sums = padded.reshape(frames, self.least).sum(1)
        return {"codes": torch.from_numpy((sums > 0).astype(np.int64))[None]}

    def words(self, caption: str) -> Sample:
        self.said.append(caption)
        return {"text": torch.tensor([int(hashlib.sha256(caption.encode()).hexdigest()[:8], 16)])}

    def collate(self, samples: Sequence[Sample]) -> Sample:
        longest = max(one["codes"].shape[1] for one in samples)
        codes = torch.stack(
            [torch.nn.functional.pad(one["codes"], (0, longest - one["codes"].shape[1]), value=2) for one in samples]
        )
        return {"codes": codes, "text": torch.stack([one["text"] for one in samples])}


def piece(number: int = 0, genre: str = "waltz") -> world.Piece:
    return world.piece("test", number, genre)


class FakeComposer:
    """Pieces of the made world instead of a model's: another one for each prompt and seed, the same each time."""

    rate, channels, longest_prompt, defaults = 8000, 1, 60, SAMPLING

    def __init__(self, facts: Facts | None = None, loud: float = 1.0) -> None:
        self.facts = facts or Facts("tiny", "fake", licences=("weights: made, free", "recordings: CC BY 4.0"))
        self.loud = loud
        self.calls: list[tuple[list[str], list[int], bool]] = []

    def compose(
        self,
        prompts: Sequence[str],
        query: MusicQuery,
        *,
        seeds: Sequence[int],
        before: Wave | None = None,
        frozen: bool = False,
    ) -> list[Wave]:
        self.calls.append((list(prompts), list(seeds), frozen))
        if long := [prompt for prompt in prompts if len(prompt) > self.longest_prompt]:
            raise InputError(f"a prompt of {len(long[0])} tokens is longer than {self.longest_prompt}; shorten it")
        samples = round(query.seconds * self.rate)
        waves = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            genre = "march" if frozen else "raga"
            number = (len(prompt) + seed) % 50
            wave = self.loud * world.piece("test", number, genre).sound(query.seconds, self.rate)
            if before is not None:
                wave = np.concatenate([before, wave], axis=1)
            waves.append(wave[:, :samples])
        return waves
