"""Loudness is that of the recommendation's own examples."""

from __future__ import annotations

import numpy as np
import pytest

from suite.media.loudness import integrated


def sine(seconds: float, rate: int, decibels: float, channels: int = 1) -> np.ndarray:
    wave = 10 ** (decibels / 20) * np.sin(2 * np.pi * 997 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize("rate", [48000, 44100, 16000])
def test_a_full_sine_in_one_channel_is_3_01_below_zero(rate: int) -> None:
    assert integrated(sine(3, rate, 0.0), rate) == pytest.approx(-3.01, abs=0.05)
    assert integrated(sine(3, rate, -20.0, channels=2), rate) == pytest.approx(-20.0, abs=0.05)


def test_pauses_do_not_count() -> None:
    """Case 3 of EBU Tech 3341: -36, -23 and -36 LUFS in turn, the outer ones gated, are -23."""
    parts = [sine(10, 48000, -36.0, 2), sine(60, 48000, -23.0, 2), sine(10, 48000, -36.0, 2)]
    assert integrated(np.concatenate(parts, axis=1), 48000) == pytest.approx(-23.0, abs=0.1)


def test_silence_and_a_click() -> None:
    assert integrated(np.zeros((1, 48000), np.float32), 48000) == -np.inf
    assert integrated(np.zeros((2, 10), np.float32), 8000) == -np.inf
    assert np.isfinite(integrated(sine(0.1, 48000, -6.0), 48000))
