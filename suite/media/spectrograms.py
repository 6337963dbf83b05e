"""Sounds as pictures: the waveform, and below it which frequencies are loud when, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from suite.media import style

Floats = NDArray[np.floating]

LOWEST = 55.0
"""Hz at the lower edge: the A three octaves below concert pitch."""
ROWS, MOST_COLUMNS = 192, 900
"""Frequencies and moments of a picture."""
RANGE = 70.0
"""Decibels below the loudest that are told from silence."""

_TICKS = (55, 110, 220, 440, 880, 1760, 3520, 7040, 14080)


@dataclass(frozen=True)
class Shown:
    """A sound to be drawn.

    Attributes:
        wave: (channels, samples). rate: Hz. title: above it. mark: a second to be marked, e.g. where a prompt ends.
    """

    wave: Floats
    rate: int
    title: str = ""
    mark: float | None = None


def decibels(wave: Floats, rate: int, *, highest: float | None = None) -> tuple[Floats, Floats]:
    """How loud each frequency is at each moment, relative to the loudest of all.

    Args:
        wave: (channels, samples). highest: Hz at the upper edge; half the rate where left out.

    Returns:
        (rows, moments) decibels, 0 at most; (rows,) Hz, evenly spaced in octaves.
    """
    mono = np.asarray(wave, dtype=np.float64).mean(0)
    size = 2 ** round(np.log2(0.085 * rate))  # long enough to tell semitones of a melody, short enough for its beats
    hop = max(size // 8, len(mono) // MOST_COLUMNS)
    padded = np.pad(mono, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(mono) + 1 : hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2  # (moments, bins)
    own = np.fft.rfftfreq(size, 1 / rate)
    hertz = np.geomspace(LOWEST, min(highest or rate / 2, rate / 2), ROWS)
    spread = np.stack([np.interp(hertz, own, one) for one in power], axis=1)  # (rows, moments)
    level = 10 * np.log10(np.maximum(spread, 1e-12))
    return np.maximum(level - max(float(level.max()), -60.0), -RANGE), hertz


def draw(sounds: Sequence[Shown], *, title: str = "", width: float = 10.0, waveform: bool = True) -> Figure:
    """Draw sounds one below the other, on one axis of time and one of frequency.

    Args:
        width: inches. waveform: draw it above each spectrogram.

    Raises:
        ValueError: there is none.
    """
    if not sounds:
        raise ValueError("a picture of sounds needs at least one")
    heights = [height for _ in sounds for height in ((0.35, 1.0) if waveform else (1.0,))]
    figure = style.figure(width, 0.5 + (2.1 if waveform else 1.6) * len(sounds))
    figure.set_layout_engine("constrained", h_pad=0.02, hspace=0.0)
    every = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    longest = max(sound.wave.shape[1] / sound.rate for sound in sounds)
    highest = max(sound.rate for sound in sounds) / 2
    step = 2 if waveform else 1
    for place, sound in enumerate(sounds):
        axes = every[step * place : step * (place + 1)]
        if waveform:
            _waveform(axes[0], sound)
        _spectrogram(axes[-1], sound, highest)
        axes[0].set_title(sound.title.replace("$", r"\$"), loc="left", fontsize=10, color=style.INK)
        for one in axes:
            one.set_xlim(0, longest)
            style.frame(one)
            if sound.mark:
                one.axvline(sound.mark, color=style.PALETTE[1], linewidth=1.2)
            if one is not every[-1]:
                one.set_xticklabels([])
    every[-1].set_xlabel("seconds")
    if title:
        figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=12, color=style.INK)
    return figure


def _waveform(axes: Axes, sound: Shown) -> None:
    mono = sound.wave.mean(0)
    parts = np.array_split(mono, min(MOST_COLUMNS, len(mono)))
    at = np.linspace(0, len(mono) / sound.rate, len(parts))
    axes.fill_between(at, [p.min() for p in parts], [p.max() for p in parts], color=style.PALETTE[0], linewidth=0)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])


def _spectrogram(axes: Axes, sound: Shown, highest: float) -> None:
    level, hertz = decibels(sound.wave, sound.rate, highest=highest)
    edges = (0, sound.wave.shape[1] / sound.rate, np.log2(hertz[0]), np.log2(hertz[-1]))
    axes.imshow(level, origin="lower", aspect="auto", extent=edges, cmap="magma", vmin=-RANGE, vmax=0)
    ticks = [tick for tick in _TICKS if hertz[0] <= tick <= hertz[-1]]
    axes.set_yticks(np.log2(ticks), [f"{tick:,} Hz" for tick in ticks])
    axes.set_ylim(np.log2(LOWEST), np.log2(highest))
