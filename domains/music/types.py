"""What one prediction is asked for and the values that users see. Imports neither torch nor numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from suite.errors import InputError
from suite.prediction.options import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Wave: TypeAlias = "NDArray[np.float32]"
"""(channels, samples), float32, within -1 and 1."""

LONGEST = 1800.0
"""Seconds of a piece at most: half an hour."""

SAMPLING: Mapping[str, float] = {"guidance": 3.0, "temperature": 1.0, "top_k": 250, "top_p": 0.0}
"""MusicGen's own options of sampling (arXiv 2306.05284, section 3)."""


@dataclass(frozen=True)
class MusicQuery:
    """What one prediction is asked for; the fields are the options of `suite music predict`.

    Waveforms are float32 (channels, samples) in -1..1 beside their rate in Hz.

    Attributes:
        seconds: length of the piece, a continued recording included.
        pieces: how many of each prompt.
        seed: of the first piece; the next has the next seed. The same seed, prompt and model give the same piece.
        guidance: how far logits move from the unconditional ones towards the prompt's; 1 is no guidance. This and the
            next three are as the base's generation_config.json has them where left out, or as MusicGen's: 3, 1, 250, 0.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: sample among the k likeliest tokens; 0 among all.
        top_p: sample among the likeliest tokens that together have this probability; 0 leaves it out.
        steps: of a diffusion model's sampler; its own number where left out.
        continue_from: a recording that the piece goes on from.
        continue_seconds: its last so many seconds are gone on from; all of it where left out.
        keep_prompt: leave the recording at the start of what is written.
        before: make the frozen base's piece with the same seeds too, for comparison.
        format: wav, flac, ogg or mp3.
        loudness: LUFS that files are brought to, as far as their peaks leave room, e.g. -16; as made where left out.
        pictures: draw the waveform and the spectrogram.
        beside: recordings that the page plays beside what was made: a folder that `prepare` wrote, any folder or table
            of recordings, or `world:SPLIT`.
        batch_size: pieces side by side; changes the speed alone.
    """

    takes_text: ClassVar[bool] = True
    takes_words: ClassVar[bool] = True
    keeps: ClassVar[bool] = True

    seconds: float = 10.0
    pieces: int = 1
    seed: int = 0
    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    steps: int | None = None
    continue_from: Path | None = None
    continue_seconds: float | None = None
    keep_prompt: bool = True
    before: bool = False
    format: Literal["wav", "flac", "ogg", "mp3"] = "wav"
    loudness: float | None = None
    pictures: bool = True
    beside: str | None = None
    batch_size: int = 4

    def __post_init__(self) -> None:
        normalise(self, least={"pieces": 1, "seed": 0, "temperature": 0, "top_k": 0, "top_p": 0, "batch_size": 1})
        for name in ("seconds", "guidance", "temperature", "top_p"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}; give a number")
        if not 0 < self.seconds <= LONGEST:
            raise InputError(f"seconds is {self.seconds:g}; give more than 0 and {LONGEST:g} at most")
        if self.top_p is not None and self.top_p > 1:
            raise InputError(f"top_p is {self.top_p:g}; a probability is 1 at most")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise InputError(f"steps is {self.steps}; give 1 to 1000")
        if self.loudness is not None and not -70 < self.loudness <= 0:
            raise InputError(f"loudness is {self.loudness:g}; give LUFS from -70 to 0, e.g. -16")
        if self.continue_seconds is not None and not self.continue_seconds > 0:
            raise InputError(f"continue_seconds is {self.continue_seconds:g}; give more than 0")
        if self.continue_from is None and (self.continue_seconds is not None or not self.keep_prompt):
            alone = "keep_prompt" if self.continue_seconds is None else "continue_seconds"
            raise InputError(f"{alone} is of a recording to go on from; name it with continue_from")

    def filled(self, defaults: Mapping[str, Any]) -> Self:
        """The same with `defaults` where an option was left out."""
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})


@dataclass(frozen=True)
class Facts:
    """What a loaded model says of itself, for results, cards and pages.

    Attributes:
        base, adapter: references. family: `musicgen` or `mustango`.
        licences: of the weights and of the recordings that the adapter was trained on, one line each.
        wording: what a prompt of this adapter's genre looks like, from its training captions.
        notices: what the user should know of the two, one line each.
    """

    base: str
    adapter: str = ""
    family: str = "musicgen"
    licences: tuple[str, ...] = ()
    wording: str = ""
    notices: tuple[str, ...] = ()


class Composer(Protocol):
    """What inference gives to prediction: a base with its adapter, whichever model it is.

    Attributes:
        rate: Hz of what it makes. channels: 1 or 2.
        defaults: what the base wants where a query leaves options of sampling out, by the query's names.
    """

    rate: int
    channels: int
    defaults: Mapping[str, float]
    facts: Facts

    def compose(
        self,
        prompts: Sequence[str],
        query: MusicQuery,
        *,
        seeds: Sequence[int],
        before: Wave | None = None,
        frozen: bool = False,
    ) -> list[Wave]:
        """One wave a prompt, (channels, round(query.seconds * rate)), side by side in one batch.

        Args:
            prompts: an empty one is unconditional. seeds: one a prompt.
            before: the recording that all go on from, at this model's rate and channels; it stands at their beginning,
                whatever `query.keep_prompt` says: the predictor cuts it off.
            frozen: the base alone, its adapters off.

        Raises:
            InputError: a prompt is longer than the text encoder reads, or `before` longer than the piece.
        """
        ...


def licence_lines(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The licences that an adapter's manifest names: of the base's weights, then of the recordings."""
    said = manifest.get("licences")
    return tuple(str(line) for line in said) if isinstance(said, list | tuple) else ()
