"""Onsets, the beat, and how many beats the deep strokes take to come round: the cycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Floats = NDArray[np.floating]

HOP = 0.01
"""Seconds from one value of an envelope to the next."""
DEEP = 150.0
"""Hz below which a drum's deep strokes lie."""


def onsets(wave: Floats, rate: int, *, below: float | None = None) -> Floats:
    """How strongly something begins, (frames,): the rise of the logarithmic spectrum from frame to frame.

    Spectral flux (Bello and others, "A tutorial on onset detection in music signals", 2005).

    Args:
        wave: (channels, samples) or (samples,). below: Hz; only what lies below counts.
    """
    mono = np.atleast_2d(wave).mean(0).astype(np.float64)
    hop = round(HOP * rate)
    size = 2 ** int(np.ceil(np.log2(4 * hop)))
    if len(mono) < size:
        return np.zeros(0)
    padded = np.pad(mono, (size - hop, 0))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames, axis=1))
    if below is not None:
        spectra = spectra[:, : max(2, int(below * size / rate) + 1)]
    loudness = np.log1p(100 * spectra / size)
    return np.maximum(np.diff(loudness, axis=0, prepend=loudness[:1]), 0).sum(1)


def deep_strokes(wave: Floats, rate: int) -> Floats:
    """Seconds of a drum's deep strokes: peaks in what begins below `DEEP`, higher than a third of the highest."""
    rise = onsets(wave, rate, below=DEEP)
    if not len(rise) or rise.max() <= 0:
        return np.empty(0)
    peaks, _ = signal.find_peaks(rise, height=0.35 * np.quantile(rise, 0.995), distance=round(0.15 / HOP))
    return peaks * HOP


def cycle(wave: Floats, rate: int, beat: float, *, candidates: Sequence[int] = range(2, 8)) -> int | None:
    """How many beats lie from one deep stroke to the next, most often; None with fewer than three strokes.

    Args:
        beat: seconds of one. candidates: numbers of beats that are told apart.
    """
    strokes = deep_strokes(wave, rate)
    if len(strokes) < 3:
        return None
    gaps = np.diff(strokes) / beat
    near = np.rint(gaps).astype(int)
    fits = near[(np.abs(gaps - near) < 0.3) & np.isin(near, list(candidates))]
    if not len(fits):
        return None
    values, counts = np.unique(fits, return_counts=True)
    return int(values[counts.argmax()])


def share_of_cycle(wave: Floats, rate: int, beat: float, beats: int) -> float:
    """The share of the time between deep strokes that lies in gaps of this many beats; 0 without strokes."""
    strokes = deep_strokes(wave, rate)
    gaps = np.diff(strokes)
    if not len(gaps):
        return 0.0
    return float(gaps[np.abs(gaps / beat - beats) < 0.3].sum() / gaps.sum())


def beat_period(wave: Floats, rate: int, *, shortest: float = 0.15, longest: float = 0.75) -> float:
    """Seconds of a beat: the lag at which what begins agrees best with itself and its multiples; nan in silence."""
    rise = onsets(wave, rate)
    rise = rise - rise.mean() if len(rise) else rise
    if not len(rise) or not np.any(rise):
        return float("nan")
    agreement = signal.correlate(rise, rise, mode="full", method="fft")[len(rise) - 1 :]
    agreement = agreement / np.maximum(np.arange(len(rise), 0, -1), 1)
    lags = np.arange(round(shortest / HOP), min(round(longest / HOP), len(rise) // 5) + 1)
    if not len(lags):
        return float("nan")
    # A lag is as good as the beat where its multiples agree too; of those nearly as good the shortest is the beat.
    reach = [[agreement[max(0, times * lag - 1) : times * lag + 2].max() for times in (1, 2, 3, 4)] for lag in lags]
    strength = np.asarray(reach).mean(1)
    return float(lags[int(np.argmax(strength >= 0.9 * strength.max()))] * HOP)
