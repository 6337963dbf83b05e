"""What personalized diffusion is asked for and what it gives. Imports neither torch nor numpy."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from suite.errors import InputError
from suite.prediction.options import normalise

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 4096 * 4096
MOST_STEPS = 1000
MOST_SEED = 2**63 - 1


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

    def __post_init__(self) -> None:
        if self.negative is None:
            object.__setattr__(self, "negative", "")
        if isinstance(self.size, int):  # a number of pixels is one in Python
            object.__setattr__(self, "size", str(self.size))
        elif isinstance(self.size, tuple | list):
            object.__setattr__(self, "size", "x".join(map(str, self.size)))
        normalise(self)
        if self.images < 1 or self.batch_size < 1:
            raise InputError("images and batch-size must be at least 1")
        if not self.strength or not all(map(math.isfinite, self.strength)):
            raise InputError("strength must be one or several finite numbers, e.g. 1 or 0.5,0.75,1")
        if self.size is not None:
            parse_size(self.size)
        check_drawing(seed=self.seed, steps=self.steps, guidance=self.guidance)


def check_drawing(*, seed: int | None, steps: int | None, guidance: float | None) -> None:
    """Whether pictures can be drawn so; None is what the base does by itself.

    Raises:
        InputError: they cannot.
    """
    if seed is not None and seed < 0:
        raise InputError(f"seed {seed} must not be negative")
    if seed is not None and seed > MOST_SEED:
        raise InputError(f"seed {seed}: give at most {MOST_SEED}")
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise InputError(f"{steps} steps: give 1 to {MOST_STEPS}")
    if guidance is not None and not math.isfinite(guidance):
        raise InputError(f"guidance {guidance}: give a finite number")


def parse_size(text: str, source: str = "--size") -> tuple[int, int]:
    """Width and height of `512` or `512x768`.

    Raises:
        InputError: it is neither, or no picture of that size can be drawn.
    """
    found = re.fullmatch(r"(\d{1,6})(?:\s*[xX×]\s*(\d{1,6}))?", text.strip())
    if not found:
        raise InputError(f"{source}: size {text!r} must be a number of pixels, or WIDTHxHEIGHT")
    return checked_size((int(found[1]), int(found[2] or found[1])), source)


def checked_size(size: tuple[int, int], source: str) -> tuple[int, int]:
    """`size` itself, where a picture of it can be drawn.

    Raises:
        InputError: it cannot.
    """
    width, height = size
    if min(size) < 8 or width * height > MOST_PIXELS or width % 8 or height % 8:
        raise InputError(f"{source}: size {width} x {height}; sides are multiples of 8, and at most 16 megapixels")
    return size


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
