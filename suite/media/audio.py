"""Recordings of any format and rate in, blocks at a time and resampled; files of them out, with headroom.

A wave is (channels, samples) float32. Whatever the length of a file, `stream` holds a few seconds of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import InputError
from suite.files import atomic_file
from suite.media.audio_decoding import AudioInfo, Wave, check_shape, opened, soundfile

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "AudioInfo",
    "Sound",
    "Wave",
    "encode",
    "probe",
    "read",
    "resample",
    "stream",
    "write",
]

SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".m4a",
    ".aac",
    ".aiff",
    ".aif",
    ".au",
    ".caf",
    ".w64",
    ".wma",
)

HEADROOM = 1.0
"""Decibels that a written file stays below full scale: what decodes a lossy one overshoots a little."""


TAGS = ("title", "artist", "album", "genre", "date", "comment", "copyright", "software", "license")
"""What a file may say of itself, as far as its format has a place for it."""
_MOST_OF_A_TAG = 500
"""Characters."""


@dataclass(frozen=True)
class _Form:
    container: str
    subtype: str
    rates: tuple[int, ...] = ()


FORMATS: dict[str, _Form] = {
    "wav": _Form("WAV", "PCM_16"),
    "flac": _Form("FLAC", "PCM_16"),
    "ogg": _Form("OGG", "VORBIS"),
    "mp3": _Form("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
}
"""What is written, by suffix; `rates` where a format has only some."""


@dataclass(frozen=True)
class Sound:
    """A wave and its samples a second."""

    wave: Wave
    rate: int

    @property
    def seconds(self) -> float:
        return self.wave.shape[1] / self.rate


def probe(path: str | Path) -> AudioInfo:
    """What a recording says of itself; nothing is decoded.

    Raises:
        InputError: there is none, or nobody can read it.
    """
    try:
        status = Path(path).expanduser().stat()
    except (OSError, ValueError):
        return _probed(str(path), 0, 0.0)
    return _probed(str(path), status.st_size, status.st_mtime)


@lru_cache(maxsize=65_536)
def _probed(path: str, size: int, changed: float) -> AudioInfo:
    """The same of a file of this size and time: to count what an MP3 holds takes a second an hour."""
    with opened(path) as recording:
        return recording.info()


def read(
    path: str | Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    rate: int | None = None,
    channels: int | None = None,
) -> Sound:
    """A recording, or a part of it.

    Args:
        start, end: seconds of the part.
        rate: resampled to it, with a band-limited filter. channels: 1 (their mean) or 2; as it is where left out.

    Raises:
        InputError: it cannot be read, holds no sample there, or one that is no number.
    """
    own = rate or probe(path).rate
    parts = list(stream(path, start=start, end=end, rate=rate, channels=channels))
    return Sound(np.concatenate(parts, axis=1), own)


def stream(
    path: str | Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    rate: int | None = None,
    channels: int | None = None,
) -> Iterator[Wave]:
    """The same, (channels, samples) at a time, in bounded memory.

    Raises:
        InputError: see `read`; it may come after blocks that were fine.
    """
    if start < 0 or (end is not None and end <= start):
        raise InputError(f"{path}: from {start:g} to {end} s is no part of a recording; give 0 <= start < end")
    info = probe(path)
    with opened(path) as recording:
        count = _channels(recording.name, info.channels, channels)
        resampler = _resampler(info.rate, rate, count)
        first = round(start * info.rate)
        most = None if end is None else round(end * info.rate) - first
        read = given = 0
        for part in _first_samples(recording.blocks(first), most):
            _check_numbers(recording.name, part, (first + read) / info.rate)
            read += part.shape[1]
            wave = _mixed(part, channels)
            if resampler is not None:
                wave = _resampled(resampler, wave, last=False)
            if wave.shape[1]:
                given += wave.shape[1]
                yield wave
        if resampler is not None and read:
            tail = _resampled(resampler, np.zeros((count, 0), np.float32), last=True)
            given += tail.shape[1]
            if tail.shape[1]:
                yield tail
        if not given:
            where = f" from {start:g} s on; it lasts {info.seconds:.2f} s" if start else ""
            raise InputError(f"{recording.name}: holds no sample{where}")


def _first_samples(blocks: Iterable[Wave], most: int | None) -> Iterator[Wave]:
    """The blocks (channels, samples) up to `most` samples; nothing is read after them."""
    for block in blocks:
        part = block if most is None else block[:, :most]
        yield part
        if most is not None:
            most -= part.shape[1]
            if not most:
                return


def resample(wave: Wave, rate: int, wanted: int) -> Wave:
    """The wave at another rate, band-limited, so that nothing folds back."""
    if rate == wanted:
        return wave
    return np.ascontiguousarray(_soxr().resample(wave.T, rate, wanted, quality="HQ").T.astype(np.float32))


def write(path: str | Path, wave: Wave, rate: int, *, tags: Mapping[str, str] | None = None) -> float:
    """Write a wave in the format of the name's suffix, all or nothing, quieter where it would clip.

    Args:
        tags: what players show: `TAGS` to text.

    Returns:
        Decibels by which it was made quieter; 0 where it was not.

    Raises:
        InputError: the suffix is none of `FORMATS`.
        ValueError: the wave holds no sample, or one that is no number.
    """
    form = _form(path)
    with atomic_file(path) as temporary:
        return _write(temporary, wave, rate, form, tags or {})


def encode(wave: Wave, rate: int, format: str) -> bytes:
    """The same as the bytes of a file, e.g. for a page that holds its sounds."""
    held = io.BytesIO()
    _write(held, wave, rate, FORMATS[format], {})
    return held.getvalue()


def _write(target: Any, wave: Wave, rate: int, form: _Form, tags: Mapping[str, str]) -> float:
    if wave.ndim != 2 or not wave.shape[1] or not np.isfinite(wave).all():
        raise ValueError(f"a wave {wave.shape} that is empty or holds what is no number")
    if form.rates and rate not in form.rates:
        fitting = next((one for one in form.rates if one >= rate), form.rates[-1])
        wave, rate = resample(wave, rate, fitting), fitting
    most = 10 ** (-HEADROOM / 20)
    peak = float(np.abs(wave).max())
    quieter = min(1.0, most / peak) if peak else 1.0
    with soundfile().SoundFile(target, "w", rate, len(wave), form.subtype, format=form.container) as file:
        for name, text in tags.items():
            if shown := " ".join(text.split())[:_MOST_OF_A_TAG]:
                setattr(file, name, shown)
        for start in range(0, wave.shape[1], 65_536):  # libsndfile's Vorbis overflows its stack on minutes at once
            file.write(quieter * wave[:, start : start + 65_536].T)
    return -20 * float(np.log10(quieter)) if quieter < 1 else 0.0


def _form(path: str | Path) -> _Form:
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise InputError(f"{path}: {suffix or 'no suffix'} is no format that is written; choose {', '.join(FORMATS)}")
    return FORMATS[suffix]


def _channels(name: str, held: int, wanted: int | None) -> int:
    if wanted is not None and held > 2:
        raise InputError(f"{name}: has {held} channels; mix it down to two or one first (ffmpeg -i IN -ac 2 OUT)")
    return wanted or held


def _mixed(wave: Wave, channels: int | None) -> Wave:
    if channels is None or len(wave) == channels:
        return wave
    return wave.mean(0, keepdims=True) if channels == 1 else np.repeat(wave, channels, axis=0)


def _check_numbers(name: str, wave: Wave, at: float) -> None:
    if not np.isfinite(wave).all():
        raise InputError(f"{name}: holds values that are no numbers after {at:.2f} s; export it anew")


def _resampler(rate: int, wanted: int | None, channels: int) -> Any:
    if wanted is None or wanted == rate:
        return None
    check_shape("the rate asked for", wanted, channels)
    return _soxr().ResampleStream(rate, wanted, channels, dtype="float32", quality="HQ")


def _resampled(resampler: Any, wave: Wave, *, last: bool) -> Wave:
    return np.ascontiguousarray(resampler.resample_chunk(np.ascontiguousarray(wave.T), last=last).T)


def _soxr() -> Any:
    try:
        import soxr
    except ImportError as error:
        raise InputError("resampling needs soxr; pip install 'peft-suite[music]'") from error
    return soxr
