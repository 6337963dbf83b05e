"""The pitch of one voice over time (McLeod's method), the notes in it, and how many of them a scale holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Floats = NDArray[np.floating]

WINDOW, HOP = 0.064, 0.01
"""Seconds of a frame, and from one to the next."""
LOWEST, HIGHEST = 160.0, 1300.0
"""Hz between which a melody is sought; a drum's deep strokes lie below."""
CLEAR = 0.75
"""Normalised autocorrelation from which a frame has a pitch; 1 is perfectly periodic."""


@dataclass(frozen=True)
class HeardNote:
    """A note that was heard: seconds from the beginning, seconds of its length, Hz."""

    start: float
    length: float
    pitch: float


def pitches(wave: Floats, rate: int) -> tuple[Floats, Floats]:
    """The pitch of each frame, and how clear it is.

    The highest of the first peaks of the normalised square difference function (McLeod and Wyvill, "A smarter way to
    find pitch", ICMC 2005), above the drum's register and silence.

    Args:
        wave: (channels, samples) or (samples,).

    Returns:
        (frames,) Hz, nan where there is none; (frames,) from 0 to 1.
    """
    mono = np.atleast_2d(wave).mean(0).astype(np.float64)
    window, hop = round(WINDOW * rate), round(HOP * rate)
    if len(mono) < window:
        return np.empty(0), np.empty(0)
    if 0.45 * rate > LOWEST:
        mono = signal.sosfiltfilt(signal.butter(4, LOWEST, "highpass", fs=rate, output="sos"), mono)
    frames = np.lib.stride_tricks.sliding_window_view(mono, window)[::hop]  # (frames, window)
    size = 2 ** int(np.ceil(np.log2(2 * window)))
    spectra = np.fft.rfft(frames, size)
    correlation = np.fft.irfft(np.abs(spectra) ** 2, size)[:, :window]
    squares = np.cumsum(frames**2, axis=1)
    lags = np.arange(window)
    ahead = squares[:, window - 1 - lags]  # energy of what has a partner at each lag
    behind = squares[:, -1:] - np.where(lags == 0, 0, squares[:, np.maximum(lags - 1, 0)])
    nsdf = 2 * correlation / np.maximum(ahead + behind, 1e-9)
    loud = np.sqrt((frames**2).mean(1))
    silent = loud < 0.02 * max(float(np.quantile(loud, 0.95)), 1e-4)
    found = np.array([_first_peak(row, rate) for row in nsdf]).reshape(-1, 2)
    pitch, clarity = found[:, 0], np.where(silent, 0.0, found[:, 1])
    return np.where(clarity >= CLEAR, pitch, np.nan), clarity


def notes(wave: Floats, rate: int, *, shortest: float = 0.06, drift: float = 0.45) -> list[HeardNote]:
    """The notes of a voice: stretches in which the pitch stays where it is.

    Args:
        shortest: seconds that one lasts at least. drift: semitones from its own middle that it may waver.
    """
    pitch, _ = pitches(wave, rate)
    semitones = 12 * np.log2(pitch / 440.0)
    found: list[HeardNote] = []
    begun = 0

    def close(end: int) -> None:
        if (end - begun) * HOP >= shortest:
            middle = float(np.median(semitones[begun:end]))
            found.append(HeardNote(begun * HOP, (end - begun) * HOP, 440.0 * 2 ** (middle / 12)))

    for place, here in enumerate(semitones):
        if place > begun and (np.isnan(here) or abs(here - np.median(semitones[begun:place])) > drift):
            close(place)
            begun = place
        if np.isnan(here):
            begun = place + 1
    close(len(semitones))
    return found


def share_in_scale(
    heard: Sequence[HeardNote], tonic: float, degrees: Sequence[float], *, tolerance: float = 0.4
) -> float:
    """The share of the notes' time that lies on the degrees of a scale; nan without a note.

    Args:
        tonic: Hz. degrees: semitones above it, within an octave. tolerance: semitones off a degree that still count.
    """
    total = sum(note.length for note in heard)
    if not total:
        return float("nan")
    steps = np.asarray(degrees, dtype=float)
    inside = 0.0
    for note in heard:
        place = 12 * np.log2(note.pitch / tonic)
        off = np.abs((place - steps + 6) % 12 - 6).min()
        inside += note.length * float(off <= tolerance)
    return inside / total


def _first_peak(nsdf: Floats, rate: int) -> tuple[float, float]:
    """Hz and clarity of the first peak that is nearly as high as the highest one."""
    first, last = int(rate / HIGHEST), min(len(nsdf) - 1, int(rate / LOWEST) + 1)
    inner = nsdf[first : last + 1]
    if len(inner) < 3:
        return float("nan"), 0.0
    peaks = first + 1 + np.flatnonzero((inner[1:-1] >= inner[:-2]) & (inner[1:-1] > inner[2:]))
    peaks = peaks[nsdf[peaks] > 0]
    if not len(peaks):
        return float("nan"), 0.0
    lag = int(peaks[np.argmax(nsdf[peaks] >= 0.9 * nsdf[peaks].max())])
    left, middle, right = (float(nsdf[lag + step]) for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend else 0.0
    return rate / (lag + shift), min(1.0, middle - 0.25 * (left - right) * shift)
