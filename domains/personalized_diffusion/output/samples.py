"""The sample grid that shows how training goes: the same prompts and seeds at steps 0, N, 2N."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.personalized_diffusion.data.prompts import Prompt, read_prompts
from domains.personalized_diffusion.model.bases import Base
from domains.personalized_diffusion.model.drawing import draw
from domains.personalized_diffusion.types import Settings
from suite.errors import InputError
from suite.media.sheets import grid, save_png


@dataclass(frozen=True)
class Samples:
    """Settings of the grid.

    Attributes:
        every: optimiser steps between two grids; one at step 0 besides.
        prompts: what to draw; each is a row.
        file: a prompt file, whose lines may state their own seed, steps, guidance and size; its prompts follow.
        images: pictures a prompt.
        steps, guidance, seed: of drawing.
    """

    every: int = 100
    prompts: list[str] = field(default_factory=list)
    file: str | None = None
    images: int = 4
    steps: int = 25
    guidance: float = 7.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 1 or self.images < 1 or self.steps < 1:
            raise InputError("recipe.samples: every, images and steps are at least 1")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Samples:
        """From a section of the configuration.

        Raises:
            InputError: it names an unknown setting.
        """
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(f"recipe.samples: {str(error).split('__init__() ')[-1]}") from error

    def asked(self) -> list[Prompt]:
        """Every prompt.

        Raises:
            InputError: there is none, or a line of the file cannot be used.
        """
        found = [Prompt(text, text) for text in self.prompts]
        found += list(read_prompts(Path(self.file))) if self.file else []
        if not found:
            raise InputError("recipe.samples names no prompt; give prompts, or a file of them")
        for prompt in found:
            if prompt.error:
                raise InputError(f"recipe.samples: {prompt.error}")
        return found


def draw_samples(base: Base, samples: Samples, side: int, path: Path, title: str) -> Path:
    """Draw the grid with the networks as they are now, and write it; the pictures are those that `predict` draws.

    Raises:
        InputError: they came out as NaN.
    """
    asked = samples.asked()
    rows = []
    for prompt in asked:
        width, height = prompt.size or (side, side)
        first = samples.seed if prompt.seed is None else prompt.seed
        settings = Settings(
            width,
            height,
            prompt.steps or samples.steps,
            samples.guidance if prompt.guidance is None else prompt.guidance,
            prompt.negative or "",
        )
        seeds = [first + number for number in range(samples.images)]
        rows.append(draw(base, prompt.text, seeds, settings, samples.images))
    return save_png(grid(rows, names=[prompt.text for prompt in asked], title=title, side=128), path)
