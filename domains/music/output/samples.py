"""Pieces that show how training goes: the same prompts and seeds at steps 0, N, 2N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.music.types import Composer, MusicQuery
from suite.errors import InputError
from suite.media import audio, plots, spectrograms
from suite.media.spectrograms import Shown


@dataclass(frozen=True)
class Samples:
    """Settings of the pieces.

    Attributes:
        every: optimiser steps between two times; step 0, the frozen base, besides.
        prompts: what to compose. seconds: of each. guidance, seed: of sampling; the base's own
            guidance where left out.
    """

    every: int = 100
    prompts: Sequence[str] = field(default_factory=tuple)
    seconds: float = 8.0
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 1 or not self.prompts:
            raise InputError("recipe.samples: every is at least 1, and prompts names one or more")
        self.query()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Samples:
        """From a section of the configuration.

        Raises:
            InputError: it names an unknown setting, or one of an impossible value.
        """
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(f"recipe.samples: {str(error).split('__init__() ')[-1]}") from error

    def query(self) -> MusicQuery:
        """As a prediction is asked."""
        return MusicQuery(seconds=self.seconds, guidance=self.guidance, seed=self.seed)


def write_samples(composer: Composer, samples: Samples, folder: Path, step: int) -> list[Path]:
    """Compose, and write a wave of each prompt and one picture of all; they are those that `predict` makes."""
    seeds = [samples.seed + number for number in range(len(samples.prompts))]
    waves = composer.compose(samples.prompts, samples.query(), seeds=seeds)
    paths = []
    for number, wave in enumerate(waves):
        paths.append(folder / f"step_{step:06}_{number + 1}.wav")
        audio.write(paths[-1], wave, composer.rate)
    shown = [Shown(wave, composer.rate, prompt) for wave, prompt in zip(waves, samples.prompts, strict=True)]
    figure = spectrograms.draw(shown, title=f"step {step}", waveform=False)
    return [*paths, plots.save(figure, folder / f"step_{step:06}.png")]
