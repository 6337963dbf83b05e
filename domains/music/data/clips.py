"""Clips: the stretches of recordings that a model trains on, their sounds, and what is wrong with some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from domains.music.data.captions import caption as made_caption
from domains.music.data.recordings import Recording
from domains.music.data.world import SECONDS, Piece
from domains.music.types import Wave
from suite.errors import InputError
from suite.media import audio

SILENCE = -60.0
"""Decibels below full scale, root mean square, under which a clip is silent."""
FULL = 0.999
CLIPPED = 0.001
"""Share of samples at full scale from which a recording is clipped."""
SHORTEST = 0.5
"""Seconds of a last, incomplete clip that is still worth training on."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording.

    Attributes:
        start, seconds: where it lies in the recording.
        caption: empty where nothing is known: it then trains what the model makes without a prompt.
        whole: as long as clips are to be; a shorter one is padded and masked.
    """

    recording: Recording
    start: float
    seconds: float
    caption: str
    whole: bool = True

    @property
    def name(self) -> str:
        """`<recording>_<start in milliseconds>`, as the published chunks are called."""
        return f"{self.recording.id}_{round(1000 * self.start)}"

    @property
    def digest(self) -> str:
        """What its sound depends on."""
        return f"{digest_of(self.recording.source)}/{self.start:.4f}/{self.seconds:.4f}"

    def sound(self, rate: int, channels: int) -> Wave:
        """(channels, samples) at a rate.

        Raises:
            InputError: the recording cannot be read there.
        """
        source = self.recording.source
        if isinstance(source, Piece):
            wave = source.sound(self.start + self.seconds, rate)[:, round(self.start * rate) :]
            return np.repeat(wave, channels, axis=0)
        return audio.read(source, start=self.start, end=self.start + self.seconds, rate=rate, channels=channels).wave


def clips_of(
    recordings: Sequence[Recording], seconds: float, *, edges: tuple[float, float] = (0.0, 0.0), seed: int = 0
) -> list[Clip]:
    """Consecutive clips of each recording; the last one may be shorter.

    Args:
        seconds: of a clip.
        edges: shares of a recording that are left out at its beginning and its end; 0.2 and 0.1 as published.
        seed: of the sentences where none is written.

    Raises:
        InputError: a recording cannot be read.
    """
    found: list[Clip] = []
    for one in recordings:
        first, last = bounds(one, edges)
        for start, length in _stretches(first, last, seconds):
            key = f"{one.id}/{round(1000 * start)}"
            said = one.caption or (
                one.source.caption if isinstance(one.source, Piece) else made_caption(one.fields, seed=seed, key=key)
            )
            found.append(Clip(one, start, length, said, whole=length > seconds - 1e-3))
    return found


def loudness(wave: Wave) -> float:
    """Root mean square in decibels below full scale; -inf for silence."""
    power = float(np.mean(np.square(wave, dtype=np.float64))) if wave.size else 0.0
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def is_silent(wave: Wave) -> bool:
    """Whether nothing is to be heard, a constant offset aside."""
    return loudness(wave - wave.mean(axis=1, keepdims=True)) < SILENCE


def is_clipped(wave: Wave) -> bool:
    """Whether so many samples stand at full scale that peaks were cut off."""
    return float((np.abs(wave) >= FULL).mean()) > CLIPPED


def with_headroom(wave: Wave, peak: float = 0.5) -> Wave:
    """The clip as Mustango wants it: without an offset, its highest peak at 0.5."""
    centred = wave - wave.mean(axis=1, keepdims=True)
    highest = float(np.abs(centred).max(initial=0))
    return (centred * (peak / highest)).astype(np.float32) if highest else centred


@lru_cache(maxsize=65_536)
def digest_of(source: Path | Piece) -> str:
    """sha256 of a file's bytes; a made piece is told by its fields."""
    if isinstance(source, Piece):
        return repr(source)
    found = hashlib.sha256()
    try:
        with source.open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    return found.hexdigest()


def bounds(one: Recording, edges: tuple[float, float]) -> tuple[float, float]:
    """Seconds of the part of a recording that clips are cut from.

    Args:
        edges: shares left out at its beginning and its end, where nobody chose a part.

    Raises:
        InputError: it cannot be read, or the part begins behind its end.
    """
    if isinstance(one.source, Piece):
        return one.start or 0.0, one.end or SECONDS
    length = audio.probe(one.source).seconds
    if one.start is not None and one.start >= length:
        raise InputError(f"{one.source}: begins to count at {one.start:g} s, but lasts {length:.2f} s")
    if one.start is not None or one.end is not None:  # a part that somebody chose
        return one.start or 0.0, min(length, one.end if one.end is not None else length)
    return edges[0] * length, (1 - edges[1]) * length


def _stretches(first: float, last: float, seconds: float) -> Iterator[tuple[float, float]]:
    """Starts and lengths; one that is all there is may be as short as it likes."""
    start, number = first, 0
    while last - start > 1e-3:
        length = min(seconds, last - start)
        if length >= min(seconds, SHORTEST) - 1e-3 or number == 0:
            yield start, length
        number += 1
        start = first + number * seconds
