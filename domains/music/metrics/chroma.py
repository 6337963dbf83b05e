"""Chroma: how loud each of the twelve pitch classes is over time, and how alike two pieces are in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

WINDOW, HOP = 0.37, 0.1
"""Seconds of a frame: long enough to tell semitones apart from 100 Hz on; and from one to the next."""
LOWEST, HIGHEST = 98.0, 4000.0


def chroma(wave: Floats, rate: int) -> Floats:
    """(frames, 12), each frame of length 1, from C on; zeros where it is silent.

    Args:
        wave: (channels, samples) or (samples,).
    """
    mono = np.atleast_2d(wave).mean(0).astype(np.float64)
    size, hop = round(WINDOW * rate), round(HOP * rate)
    if len(mono) < size:
        mono = np.pad(mono, (0, size - len(mono)))
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2  # (frames, bins)
    hertz = np.fft.rfftfreq(size, 1 / rate)
    heard = (hertz >= LOWEST) & (hertz <= min(HIGHEST, 0.45 * rate))
    classes = np.rint(12 * np.log2(hertz[heard] / 440.0)).astype(int) + 9  # A is the tenth class from C
    energies = np.zeros((len(power), 12))
    for place in range(12):
        energies[:, place] = power[:, heard][:, classes % 12 == place].sum(1)
    loud = np.linalg.norm(energies, axis=1, keepdims=True)
    return np.where(loud > 1e-8, energies / np.maximum(loud, 1e-12), 0.0)


def chroma_cosine(one: tuple[Floats, int], other: tuple[Floats, int]) -> float:
    """Mean cosine of two pieces' chroma, frame by frame as far as both go; each is a wave and its rate."""
    first, second = chroma(*one), chroma(*other)
    length = min(len(first), len(second))
    return float((first[:length] * second[:length]).sum(1).mean())
