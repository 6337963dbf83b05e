"""Notes and strokes as sound, by additive synthesis: a few harmonics with their own envelopes, and a drum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

GLIDE = 0.12
"""Seconds that a note takes to reach its pitch, where notes glide."""


@dataclass(frozen=True)
class Note:
    """Seconds, Hz; `glides`: it begins at the pitch of the note before."""

    start: float
    length: float
    pitch: float
    glides: bool = False


@dataclass(frozen=True)
class Stroke:
    """A stroke of the drum at a second: `D` deep, `t` sharp."""

    start: float
    kind: str


@dataclass(frozen=True)
class Timbre:
    """How an instrument sounds.

    Attributes:
        harmonics: loudness of the fundamental and its multiples.
        attack: seconds in which a note comes in. decay: seconds in which it falls to a third; None: it is held.
        dulls: how much faster higher harmonics fall.
    """

    harmonics: tuple[float, ...]
    attack: float
    decay: float | None = None
    dulls: float = 0.0


INSTRUMENTS: dict[str, Timbre] = {
    "flute": Timbre((1.0, 0.25, 0.06), attack=0.04),
    "organ": Timbre((0.8, 0.6, 0.1, 0.4, 0.0, 0.05, 0.0, 0.2), attack=0.015),
    "violin": Timbre((0.8, 0.55, 0.5, 0.35, 0.25, 0.2, 0.12), attack=0.06),
    "guitar": Timbre((1.0, 0.7, 0.45, 0.3, 0.22, 0.15, 0.1), attack=0.004, decay=0.35, dulls=0.6),
}


def voice(notes: Sequence[Note], timbre: Timbre, samples: int, rate: int) -> Samples:
    """A melody of one voice, (samples,), each note ending where the next begins."""
    pitch, phase, age, left = _courses(notes, samples, rate)
    sound = np.zeros(samples)
    for number, loudness in enumerate(timbre.harmonics, 1):
        if not loudness:
            continue
        heard = np.where(number * pitch < 0.45 * rate, loudness, 0.0)
        if timbre.decay is not None:
            heard = heard * np.exp(-age * (1 + timbre.dulls * (number - 1)) / timbre.decay)
        sound += heard * np.sin(number * phase)
    sound /= sum(timbre.harmonics) ** 0.5
    release = 0.012 + 0.02 * (timbre.decay is None)
    return sound * np.clip(age / timbre.attack, 0, 1) * np.clip(left / release, 0, 1)


def drum(strokes: Sequence[Stroke], samples: int, rate: int) -> Samples:
    """The strokes of a drum, (samples,)."""
    sounds = {"D": _deep(rate), "t": _sharp(rate)}
    sound = np.zeros(samples)
    for stroke in strokes:
        start = round(stroke.start * rate)
        part = sounds[stroke.kind][: max(0, samples - start)]
        sound[start : start + len(part)] += part
    return sound


def _courses(notes: Sequence[Note], samples: int, rate: int) -> tuple[Samples, Samples, Samples, Samples]:
    """Of each sample the pitch in Hz, the phase, seconds since its note began, and seconds until it ends.

    A note's phase is as if it had begun at zero on its own pitch, once it has glided there.
    """
    pitch, phase, age, left = np.full(samples, 440.0), *(np.zeros(samples) for _ in range(3))
    before: float | None = None
    for note in notes:
        first, end = round(note.start * rate), min(samples, round((note.start + note.length) * rate))
        if first >= end:
            continue
        since = np.arange(end - first) / rate
        semitones = np.zeros_like(since)
        if note.glides and before is not None:
            done = np.clip(since / GLIDE, 0, 1)
            semitones = 12 * np.log2(before / note.pitch) * (1 - done * done * (3 - 2 * done))
        course = note.pitch * 2 ** (semitones / 12)
        ahead = np.cumsum(course - note.pitch) / rate  # periods, by the glide
        pitch[first:end] = course
        phase[first:end] = 2 * np.pi * (note.pitch * since + ahead - ahead[-1])
        age[first:end] = since
        left[first:end] = note.length - since
        before = note.pitch
    return pitch, phase, age, left


def _deep(rate: int) -> Samples:
    """A deep stroke: a tone that falls from 140 to 70 Hz."""
    seconds = np.arange(round(0.22 * rate)) / rate
    phase = 2 * np.pi * np.cumsum(70 + 70 * np.exp(-seconds / 0.03)) / rate
    return np.sin(phase) * np.exp(-seconds / 0.07) * np.clip(seconds / 0.002, 0, 1)


def _sharp(rate: int) -> Samples:
    """A sharp stroke: a burst of high noise."""
    seconds = np.arange(round(0.08 * rate)) / rate
    noise = np.diff(np.random.default_rng(1).standard_normal(len(seconds) + 1))
    return 0.45 * noise * np.exp(-seconds / 0.018)
