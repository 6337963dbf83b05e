"""An embedding of ours for those who have none of the usual files: timbre, pitch classes and pulse of a few seconds.

It is computed, not learned: figures of it compare with each other, and with nobody else's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from domains.music.metrics.chroma import chroma
from domains.music.metrics.rhythm import HOP, onsets

Floats = NDArray[np.floating]

NAME = "spectral-2 (ours)"
RATE = 8000
"""Hz that waves are brought to: what every base can make."""
WINDOW, STEP = 1.92, 0.96
"""Seconds that an embedding hears, and from one to the next."""
FRAME = 512
"""Samples of a spectrum's frame, a quarter of it from one to the next."""
BANDS, CEPSTRA = 40, 12
QUIETEST = -60.0
"""Decibels below a sine of full scale under which nothing is heard.

In bands where music has nothing a logarithm would else tell apart noises that no listener hears: at -80 dB they were
half as far from silence as a raga is from the other genres.
"""
PERIODS = np.geomspace(0.12, 1.6, 12)
"""Seconds of the pulses whose strength is embedded."""
DIM = 2 * CEPSTRA + 12 + len(PERIODS)


def embed(wave: Floats, rate: int = RATE) -> Floats:
    """(windows, DIM) of a wave (channels, samples); what is shorter than a window is one.

    Means and deviations of twelve mel cepstra, the mean chroma, and how far onsets agree with themselves at some lags.
    """
    mono = np.atleast_2d(wave).mean(0).astype(np.float64)
    size, step = round(WINDOW * rate), round(STEP * rate)
    if len(mono) < size:
        mono = np.pad(mono, (0, size - len(mono)))
    filters = mel_filters(rate, FRAME, BANDS, 60.0, 0.475 * rate)
    quietest = 10 ** (QUIETEST / 10) * (FRAME / 4) ** 2  # a sine of full scale is a quarter of the frame in its bin
    found = []
    for start in range(0, len(mono) - size + 1, step):
        part = mono[start : start + size]
        frames = np.lib.stride_tricks.sliding_window_view(part, FRAME)[:: FRAME // 4] * np.hanning(FRAME)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 @ filters.T  # (frames, BANDS)
        cepstra = dct(np.log10(power + quietest), axis=1, norm="ortho")[:, 1 : CEPSTRA + 1]
        found.append(
            np.concatenate([cepstra.mean(0), cepstra.std(0), 3 * chroma(part, rate).mean(0), 3 * _pulse(part, rate)])
        )
    return np.stack(found).astype(np.float32)


def mel_filters(rate: float, size: int, bands: int, lowest: float, highest: float) -> Floats:
    """(bands, size / 2 + 1) triangles, evenly spaced on HTK's mel scale, each 1 at its peak."""
    mels = np.linspace(_mel(lowest), _mel(highest), bands + 2)
    own = _mel(np.fft.rfftfreq(size, 1 / rate))
    lower = (own - mels[:-2, None]) / (mels[1:-1] - mels[:-2])[:, None]
    upper = (mels[2:, None] - own) / (mels[2:] - mels[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(lower, upper))


def _mel(hertz: Floats | float) -> Floats:
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)


def _pulse(wave: Floats, rate: int) -> Floats:
    """Autocorrelation of what begins, at the lags of `PERIODS`."""
    rise = onsets(wave, rate)
    rise = rise - rise.mean() if len(rise) else np.zeros(2)
    whole = float((rise**2).sum())
    if whole <= 0:
        return np.zeros(len(PERIODS))
    lags = np.rint(PERIODS / HOP).astype(int)
    return np.array([float((rise[lag:] * rise[:-lag]).sum()) / whole if lag < len(rise) else 0.0 for lag in lags])
