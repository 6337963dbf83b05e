"""What personalized diffusion is asked for and what it gives. Imports neither torch nor numpy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from suite.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PromptQuery:
    """What one prediction is asked for; the fields are the options of `suite personalized_diffusion predict`.

    Attributes:
        images: how many pictures of each prompt.
        seed: of the first picture; the next has the next seed. A prompt's line may state its own.
        steps: of the sampler; the base's own number where it is left out.
        guidance: how strongly the prompt is followed; the base's own where it is left out.
        size: side of the pictures in pixels, or WIDTHxHEIGHT; the base's own where it is left out.
        negative: what the pictures should not show.
        strength: how strongly the adapter acts: 1 as trained, 0 not at all; several draw the same seeds at each.
        also: further adapters on the same base, each a reference, or REF@WEIGHT.
        before: draw the frozen base with the same seeds too, for comparison.
        subject: of a DreamBooth prompt file: whose 25 prompts are drawn, e.g. dog6.
        batch_size: pictures side by side; changes the speed, and a picture by rounding at most.
        grid: write a grid of each prompt's pictures and a contact sheet of all.
    """

    takes_text: ClassVar[bool] = True
    takes_words: ClassVar[bool] = True
    """A single word is a prompt too, where no file is called so."""
    keeps: ClassVar[bool] = True
    """Results that took minutes and that no terminal shows are written to a temporary folder where none is named."""

    images: int = 4
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size: str | None = None
    negative: str = ""
    strength: tuple[float, ...] = (1.0,)
    also: tuple[str, ...] = ()
    before: bool = False
    subject: str | None = None
    batch_size: int = 4
    grid: bool = True


@dataclass(frozen=True)
class Picture:
    """One image and what it was drawn with.

    Attributes:
        number: of the image among those of its prompt, from 0.
        strength: of the adapter; None for the frozen base.
    """

    image: Image
    number: int
    seed: int
    strength: float | None = 1.0

    @property
    def digest(self) -> str:
        """sha256 over size and pixels: two pictures of one digest are the same."""
        return hashlib.sha256(repr(self.image.size).encode() + self.image.tobytes()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """How the pictures of one prompt were drawn, every default filled in. Sizes are pixels."""

    width: int
    height: int
    steps: int
    guidance: float
    negative: str = ""
    scheduler: str = ""
    adapters: Mapping[str, float] = field(default_factory=dict)
    base: str = ""


def weighted(word: str, separator: str = "@") -> tuple[str, float]:
    """Reference and weight of `REF` or `REF@WEIGHT`.

    Raises:
        InputError: the weight is no finite number.
    """
    reference, _, weight = word.rpartition(separator)
    if not reference:
        return word, 1.0
    try:
        value = float(weight)
    except ValueError:
        return word, 1.0  # hf:org/name@revision
    if not math.isfinite(value):
        raise InputError(f"{word}: weight {weight} is no finite number")
    return reference, value
