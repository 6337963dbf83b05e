"""Pieces that show how training goes: the same prompts and seeds at steps 0, N, 2N, to be heard and seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.music.data.prompts import Prompt, read_prompts, said
from domains.music.types import Composer, MusicQuery
from suite.errors import InputError
from suite.media import audio, plots, spectrograms
from suite.media.spectrograms import Shown


@dataclass(frozen=True)
class Samples:
    """Settings of the samples.

    Attributes:
        every: optimiser steps between two rounds; one at step 0 besides.
        prompts: what to make. file: a file of prompts, whose lines may state their own seed; they follow.
        seconds, guidance, seed: of making.
    """

    every: int = 500
    prompts: list[str] = field(default_factory=list)
    file: str | None = None
    seconds: float = 8.0
    guidance: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"recipe.samples: every is {self.every}; give at least 1")
        self.query()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Samples:
        """From a section of the configuration.

        Raises:
            InputError: it names an unknown setting, or one is out of its range.
        """
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(f"recipe.samples: {str(error).split('__init__() ')[-1]}") from error

    def query(self) -> MusicQuery:
        """How they are made."""
        return MusicQuery(seconds=self.seconds, guidance=self.guidance, seed=self.seed)

    def asked(self) -> list[Prompt]:
        """Every prompt.

        Raises:
            InputError: there is none, or a line of the file cannot be used.
        """
        found = [said(text, text) for text in self.prompts]
        found += list(read_prompts(Path(self.file))) if self.file else []
        if not found:
            raise InputError("recipe.samples names no prompt; give prompts, or a file of them")
        for prompt in found:
            if prompt.error:
                raise InputError(f"recipe.samples: {prompt.error}")
        return found


def write_samples(composer: Composer, samples: Samples, folder: Path, step: int) -> list[Path]:
    """Make the pieces with the model as it is now: `step_000500/1.wav`, ... and `step_000500.png` with all of them.

    Raises:
        InputError: a prompt is too long for the model.
    """
    asked = samples.asked()
    seeds = [samples.seed if prompt.seed is None else prompt.seed for prompt in asked]
    waves = composer.compose([prompt.text for prompt in asked], samples.query(), seeds=seeds)
    home = folder / f"step_{step:06}"
    written = []
    for number, (prompt, wave) in enumerate(zip(asked, waves, strict=True), 1):
        path = home / f"{number}.wav"
        audio.write(path, wave, composer.rate, tags={"title": prompt.text, "comment": f"step {step}"})
        written.append(path)
    return [*written, plots.save(_picture(asked, waves, composer.rate, step), home.with_suffix(".png"))]


def _picture(asked: Sequence[Prompt], waves: Sequence[Any], rate: int, step: int) -> Any:
    shown = [Shown(wave, rate, prompt.text) for prompt, wave in zip(asked, waves, strict=True)]
    return spectrograms.draw(shown, title=f"step {step}", waveform=False)
