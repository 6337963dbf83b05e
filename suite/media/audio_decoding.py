"""A recording opened: by libsndfile where it can count what it reads, by FFmpeg (PyAV) otherwise. Blocks come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError, first_line

Wave = NDArray[np.float32]
"""(channels, samples), float32; full scale is -1 to 1."""

SLOWEST, FASTEST = 1000, 768_000
"""Samples a second that a recording may state: outside there is no sound, but a damaged header."""
MOST_CHANNELS = 64

BLOCK = 65_536
"""Samples that are decoded at a time."""

_PADDING = 0.25
"""Seconds that an encoder may put before and behind a recording: twice 1,152 samples at the lowest rate of MP3."""

_BY_FFMPEG = (".mp3", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".mkv", ".opus", ".amr", ".ac3")
"""libsndfile believes the length that an MP3's header states; FFmpeg reads to the end. The others it cannot read."""


@dataclass(frozen=True)
class AudioInfo:
    """What a recording says of itself.

    Attributes:
        rate: samples a second. seconds: counted where the header is not to be trusted.
        tags: title, artist, comment, … in lower case, as far as the file has them.
    """

    rate: int
    channels: int
    seconds: float
    codec: str
    tags: Mapping[str, str] = field(default_factory=dict)


class Recording(Protocol):
    """An open recording."""

    name: str

    def info(self) -> AudioInfo:
        """What it says of itself, nothing decoded."""
        ...

    def blocks(self, first: int) -> Iterator[Wave]:
        """Everything from sample `first` on, (channels, samples) at a time."""
        ...


@contextmanager
def opened(path: str | Path) -> Iterator[Recording]:
    """Open a recording.

    Raises:
        InputError: there is none, it is empty, or nobody can read it.
    """
    file = _existing(path)
    if file.suffix.lower() in _BY_FFMPEG:
        with _ffmpeg(file) as recording:
            yield recording
        return
    sf = soundfile()
    try:
        source = sf.SoundFile(str(file))
    except (sf.LibsndfileError, OSError) as error:
        with _ffmpeg(file, first_line(error)) as recording:
            yield recording
        return
    with source:
        yield _SoundFile(source, str(file))


class _SoundFile:
    def __init__(self, source: Any, name: str) -> None:
        self._source, self.name = source, name
        check_shape(name, source.samplerate, source.channels)

    def info(self) -> AudioInfo:
        source = self._source
        tags = {str(name).lower(): str(value) for name, value in source.copy_metadata().items() if value}
        return AudioInfo(source.samplerate, source.channels, source.frames / source.samplerate, source.format, tags)

    def blocks(self, first: int) -> Iterator[Wave]:
        try:
            if first:
                self._source.seek(min(first, self._source.frames))
            while len(block := self._source.read(BLOCK, dtype="float32", always_2d=True)):
                yield np.ascontiguousarray(block.T)
        except (soundfile().LibsndfileError, RuntimeError) as error:
            raise InputError(f"{self.name}: cannot be read to its end ({first_line(error)}); get it anew") from error


class _FFmpeg:
    def __init__(self, container: Any, name: str) -> None:
        self._container, self.name = container, name
        if not container.streams.audio:
            raise InputError(f"{name}: holds no sound; give a recording")
        self._stream = container.streams.audio[0]
        check_shape(name, self._stream.rate or 0, self._stream.channels or 0)

    def info(self) -> AudioInfo:
        stream = self._stream
        # A header may state any length, so the packets are counted: nothing is decoded for it.
        ticks = sum(packet.duration or 0 for packet in self._packets() if packet.size)
        self._container.seek(0)
        stated = self._container.duration / 1e6 if self._container.duration else 0.0
        counted = float(ticks * stream.time_base)
        # The two differ by an encoder's padding, which is never played; by more where the header is wrong.
        seconds = stated if not ticks or abs(counted - stated) < _PADDING else counted
        tags = {name.lower(): value for name, value in {**self._container.metadata, **stream.metadata}.items()}
        return AudioInfo(stream.rate, stream.channels, seconds, stream.codec_context.name, tags)

    def blocks(self, first: int) -> Iterator[Wave]:
        """From the beginning: a seek in a compressed stream lands where its header says, which may be wrong."""
        av = pyav()
        layout = self._stream.layout.name
        converter = av.AudioResampler(format="fltp", layout=layout, rate=self._stream.rate)
        at, held, kept = 0, 0, []
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:  # a damaged packet costs what it held, as in every player
                continue
            for frame in frames:
                for part in converter.resample(frame):
                    wave = part.to_ndarray()  # (channels, samples)
                    skipped = max(0, first - at)
                    at += wave.shape[1]
                    if skipped < wave.shape[1]:
                        kept.append(wave[:, skipped:])
                        held += wave.shape[1] - skipped
            if held >= BLOCK:
                yield np.concatenate(kept, axis=1).astype(np.float32, copy=False)
                held, kept = 0, []
        if kept:
            yield np.concatenate(kept, axis=1).astype(np.float32, copy=False)

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except pyav().FFmpegError as error:
            raise InputError(f"{self.name}: cannot be read to its end ({first_line(error)}); get it anew") from error


@contextmanager
def _ffmpeg(file: Path, before: str = "") -> Iterator[_FFmpeg]:
    """The recording as FFmpeg reads it; `before` is what libsndfile said of it."""
    av = pyav()
    options = {"protocol_whitelist": "file,crypto,data"}
    try:
        container = av.open(f"file:{file.absolute()}", metadata_errors="replace", container_options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        why = before or getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{file}: no recording that can be read ({why}); give wav, flac, ogg, mp3 or m4a") from error
    try:
        yield _FFmpeg(container, str(file))
    finally:
        with suppress(av.FFmpegError):
            container.close()


def check_shape(name: str, rate: int, channels: int) -> None:
    """Refuse what no recording is.

    Raises:
        InputError: the rate or the number of channels is absurd.
    """
    if not SLOWEST <= rate <= FASTEST:
        raise InputError(f"{name}: states {rate} samples a second; its header is damaged, convert it anew")
    if not 1 <= channels <= MOST_CHANNELS:
        raise InputError(f"{name}: states {channels} channels; its header is damaged, convert it anew")


def soundfile() -> Any:
    """The package soundfile.

    Raises:
        InputError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the wheel without its library
        raise InputError("recordings need soundfile; pip install 'peft-suite[music]'") from error
    return soundfile


def pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("this recording needs PyAV; pip install 'peft-suite[music]'") from error
    return av


def _existing(path: str | Path) -> Path:
    file = Path(path).expanduser()
    try:
        there, folder = file.exists(), file.is_dir()
    except (OSError, ValueError):  # too long a name, a NUL
        there = folder = False
    if not there:
        raise InputError(f"{path} does not exist; check the path")
    if folder:
        raise InputError(f"{path} is a folder; name a recording in it")
    if not file.stat().st_size:
        raise InputError(f"{path}: is empty (0 bytes); get it anew")
    return file
