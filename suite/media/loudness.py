"""How loud a sound is to listeners: integrated loudness after ITU-R BS.1770-4, gated."""

from __future__ import annotations

import numpy as np
from scipy import signal

from suite.media.audio import Wave, resample

_RATE = 48_000
"""Samples a second for which the recommendation states its filters."""
_SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_BLOCK, _STEP = 0.4, 0.1
_ABSOLUTE, _RELATIVE = -70.0, -10.0
_OFFSET = -0.691


def integrated(wave: Wave, rate: int) -> float:
    """LUFS of a wave (channels, samples) of one or two channels; -inf for silence and what is below -70 throughout.

    A sound shorter than a block of 400 ms is measured as one block.
    """
    heard = resample(np.asarray(wave, np.float32), rate, _RATE).astype(np.float64)
    for numerator, denominator in (_SHELF, _HIGH_PASS):
        heard = signal.lfilter(numerator, denominator, heard, axis=1)
    size, step = round(_BLOCK * _RATE), round(_STEP * _RATE)
    if heard.shape[1] < size:
        powers = (heard**2).mean(axis=1, keepdims=True).sum(0)  # (1,)
    else:
        sums = np.cumsum(np.pad(heard**2, ((0, 0), (1, 0))), axis=1)
        starts = np.arange(0, heard.shape[1] - size + 1, step)
        powers = ((sums[:, starts + size] - sums[:, starts]) / size).sum(0)  # (blocks,)
    return _gated(powers)


def _gated(powers: np.ndarray) -> float:
    loud = powers[_lufs(powers) > _ABSOLUTE]
    if not len(loud):
        return -np.inf
    loud = loud[_lufs(loud) > float(_lufs(loud.mean())) + _RELATIVE]
    return float(_lufs(loud.mean()))


def _lufs(power: np.ndarray) -> np.ndarray:
    return _OFFSET + 10 * np.log10(np.maximum(power, 1e-30))
