"""Sounds as pictures show what is heard."""

from __future__ import annotations

import numpy as np
import pytest

from suite.media import plots, spectrograms
from suite.media.spectrograms import Shown


def tone(seconds: float, rate: int, hertz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)[None]


def test_a_tone_is_loud_at_its_frequency_while_it_lasts() -> None:
    rate = 16000
    wave = np.concatenate([tone(1, rate, 440), np.zeros((1, rate)), tone(1, rate, 1760)], axis=1)
    level, hertz = spectrograms.decibels(wave, rate)
    assert level.max() == 0
    third = level.shape[1] // 3
    for part, wanted in ((level[:, 5 : third - 5], 440), (level[:, 2 * third + 10 : -10], 1760)):
        found = hertz[part.mean(1).argmax()]
        assert abs(12 * np.log2(found / wanted)) < 0.6
    assert level[:, third + 15 : 2 * third - 15].max() == -spectrograms.RANGE


def test_silence_a_single_sample_and_stereo_are_drawn() -> None:
    quiet, short = Shown(np.zeros((1, 8000)), 8000, "nothing $x$"), Shown(np.ones((2, 1)), 44100)
    stereo = Shown(np.repeat(tone(0.5, 44100, 300), 2, 0), 44100, mark=0.2)
    data = plots.to_bytes(spectrograms.draw([quiet, short, stereo], title="three"))
    assert data.startswith(b"\x89PNG")
    assert data == plots.to_bytes(spectrograms.draw([quiet, short, stereo], title="three"))
    with pytest.raises(ValueError, match="at least one"):
        spectrograms.draw([])


def test_a_long_sound_gives_no_larger_picture() -> None:
    level, _ = spectrograms.decibels(np.zeros((1, 200 * 8000)), 8000)
    assert level.shape[1] <= spectrograms.MOST_COLUMNS + 2
