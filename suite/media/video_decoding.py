"""A video opened by FFmpeg (PyAV), and its clock: what `suite.media.video` reads from."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError, first_line

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Source = str | Path | BinaryIO
"""A path, `-` (standard input), `webcam` or `webcam:1`, an address (`rtsp://`, `https://`), or an open binary file."""

MOST_PIXELS = 2**26
"""Of one frame: twice 8K. A header of a few bytes may claim more than any machine holds."""

_ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt)://", re.IGNORECASE)
_CAMERA = re.compile(r"webcam(?::(\d+))?", re.IGNORECASE)
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("vfwcap", "{}")}
_TIMEOUT = (20.0, 20.0)
"""Seconds to wait for a stream that is opened, and for its next packet."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself, nothing decoded.

    Attributes:
        width, height: of the frames as they come, turned; pixels.
        rotation: degrees counter-clockwise by which the stored pictures are turned to be shown.
        fps: average frames a second; None where the source does not say.
        real_fps: the rate at which every frame's time can be told (FFmpeg's guess): above `fps` where the rate varies.
        duration: seconds; None for what has no known end.
        frames: as the container counts them; None where it does not.
        start: the first picture's time in the file's own clock, seconds.
    """

    width: int
    height: int
    rotation: int
    codec: str
    fps: Fraction | None
    real_fps: Fraction | None
    duration: float | None
    frames: int | None
    start: float

    def rate(self, name: str) -> Fraction:
        """The average rate.

        Raises:
            InputError: the video `name` does not say it.
        """
        if self.fps is None:
            raise InputError(f"{name}: says no frame rate; convert it to mp4 or mkv, or give the rate")
        return self.fps


EPSILON = 1e-6
"""Seconds by which times that should be equal may differ: containers count in milliseconds or finer."""

Decoded = tuple[float, int | None, Any]
"""Time, index, and FFmpeg's frame."""


class Video:
    """An open video and its clock."""

    def __init__(self, container: Any, name: str, seekable: bool) -> None:
        self.container, self.name, self.seekable = container, name, seekable
        if not container.streams.video:
            held = "only sound" if container.streams.audio else "no stream of pictures"
            raise InputError(f"{name}: holds {held}; give a video")
        # Covers of songs are streams of one picture beside the film.
        self.stream = max(container.streams.video, key=lambda stream: not _is_cover(stream))
        self.stream.thread_type = "AUTO"
        self._check_size(self.stream.codec_context.width, self.stream.codec_context.height)
        # Where the file does not say when its pictures begin, the first picture that is decoded does.
        start = self.stream.start_time
        self.origin = None if start is None else float(start * self.stream.time_base)

    def info(self) -> VideoInfo:
        context, stream = self.stream.codec_context, self.stream
        first = next(self.decoded(0.0), None)
        if first is None:
            raise InputError(nothing(self.name))
        quarter = _quarter_turns(first[2])[0]
        width, height = first[2].width, first[2].height
        return VideoInfo(
            width=height if quarter % 2 else width,
            height=width if quarter % 2 else height,
            rotation=quarter * 90,
            codec=context.name,
            fps=_rate(stream.average_rate),
            real_fps=_rate(stream.base_rate) or _rate(stream.guessed_rate),
            duration=self.duration(),
            frames=stream.frames or None,
            start=self.origin or 0.0,
        )

    def duration(self) -> float | None:
        """Seconds that the pictures last, as the container says."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None

    def decoded(self, start: float) -> Generator[Decoded]:
        """The frames from the last key frame at or before `start`, with their times; nothing is converted yet.

        Raises:
            InputError: a frame is too large, or the file ends early.
        """
        if start > 0 and self.seekable and self._seek(start):
            sought = self._timed(None)
            first = next(sought, None)
            if first is not None and first[0] <= start + EPSILON:
                yield first
                yield from sought
                return
            # Some containers seek to the key frame after, or nowhere: then everything is read from the beginning.
            self.container.seek(0, backward=True)
        yield from self._timed(0)

    def _timed(self, index: int | None) -> Iterator[Decoded]:
        last, step = None, 0.0
        for raw in self._frames():
            time = self._time(raw, index, last)
            step, last = (step if last is None else time - last), time
            yield time, index, raw
            index = None if index is None else index + 1
        self._check_whole(last, step)

    def packet_times(self) -> NDArray[np.float64]:
        stamps = []
        try:
            for packet in self.container.demux(self.stream):
                # An edit list keeps frames in the file that are never shown.
                if packet.size and packet.pts is not None and not packet.is_discard:
                    stamps.append(packet.pts)
        except pyav().FFmpegError as error:
            raise InputError(f"{self.name}: cannot be read to its end ({first_line(error)}); get it anew") from error
        if not stamps:
            return np.array([frame[0] for frame in self.decoded(0.0)])
        times = np.sort(np.array(stamps, dtype=np.float64)) * float(self.stream.time_base)  # (frames,)
        self._check_whole(float(times[-1] - times[0]), float(times[-1] - times[-2]) if len(times) > 1 else 0.0)
        return times - (times[0] if self.origin is None else self.origin)

    def pixels(self, raw: Any) -> Pixels:
        """FFmpeg's frame as RGB, turned as it is to be shown."""
        turns, mirrored = _quarter_turns(raw)
        array = raw.to_ndarray(format="rgb24")
        if mirrored:
            array = array[:, ::-1]
        return np.ascontiguousarray(np.rot90(array, turns))

    def _frames(self) -> Iterator[Any]:
        """Everything that can be decoded; a damaged packet costs what depends on it, as in every player."""
        av = pyav()
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.BlockingIOError:  # a camera that has no new picture yet
                continue
            except av.FFmpegError as error:
                raise InputError(
                    f"{self.name}: cannot be read to its end ({first_line(error)}); get it anew"
                ) from error
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                self._check_size(frame.width, frame.height)
                yield frame

    def _time(self, raw: Any, index: int | None, last: float | None) -> float:
        if raw.pts is None:
            return self._time_by_rate(index, last)
        stamp = float(raw.pts * raw.time_base)
        if self.origin is None:
            self.origin = stamp
        return stamp - self.origin

    def _time_by_rate(self, index: int | None, last: float | None) -> float:
        """Where nothing says when a frame is shown (raw streams): by its number."""
        rate = _rate(self.stream.average_rate) or _rate(self.stream.guessed_rate)
        if rate is None:
            raise InputError(f"{self.name}: says neither times nor a frame rate; convert it to mp4 or mkv")
        if index is not None:
            return index / float(rate)
        return 0.0 if last is None else last + 1 / float(rate)

    def _seek(self, start: float) -> bool:
        if self.origin is None:
            return False
        try:
            self.container.seek(
                int((start + self.origin) / self.stream.time_base), stream=self.stream, backward=True, any_frame=False
            )
        except pyav().FFmpegError:
            return False
        return True

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MOST_PIXELS:
            raise InputError(
                f"{self.name}: frames of {width} x {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million; scale it"
            )

    def _check_whole(self, last: float | None, step: float) -> None:
        """Refuse a file that ends early: only its own pictures' length tells, sound may go on after them."""
        if last is None or not self.stream.duration or not self.seekable:
            return
        stated = float(self.stream.duration * self.stream.time_base)
        if stated - (last + step) > max(1.0, 3 * step):
            raise InputError(
                f"{self.name}: ends after {last + step:.1f} s, but states {stated:.1f} s: it is cut; get it anew"
            )


@contextmanager
def opened(source: Source) -> Iterator[Video]:
    av = pyav()
    name, target, options, seekable = _target(source)
    try:
        container = av.open(target, metadata_errors="replace", **options)
    except av.FFmpegError as error:
        raise InputError(f"{name}: no video that can be read ({_cause(error)}); give another file or format") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be opened ({first_line(error)})") from error
    try:
        yield Video(container, name, seekable)
    finally:
        with suppress(av.FFmpegError):
            container.close()


def _target(source: Source) -> tuple[str, Any, dict[str, Any], bool]:
    """What a source is called, what FFmpeg opens, with which options, and whether it can be sought in."""
    if not isinstance(source, str | Path):
        seekable = bool(getattr(source, "seekable", lambda: False)())
        return str(getattr(source, "name", "stream")), source, {}, seekable
    text = str(source)
    if text == "-":
        return "stdin", sys.stdin.buffer, {}, False
    if camera := _CAMERA.fullmatch(text):
        driver, device = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
        return text, device.format(camera[1] or 0), {"format": driver}, False
    if _ADDRESS.match(text):
        return text, text, {"timeout": _TIMEOUT}, False
    path = Path(text).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a video in it")
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{path}: is empty (0 bytes); get it anew")
    # A playlist must not send us to other people's servers; `file:` keeps a colon in a name from being a protocol.
    options = {"container_options": {"protocol_whitelist": "file,crypto,data"}}
    return str(path), f"file:{path.absolute()}", options, path.is_file()


def nothing(name: str) -> str:
    return f"{name}: holds no picture that can be decoded, it is empty or cut; get it anew, or convert it"


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)


def _rate(rate: Fraction | None) -> Fraction | None:
    return rate if rate else None


def _quarter_turns(raw: Any) -> tuple[int, bool]:
    """By the display matrix: quarter turns counter-clockwise, and whether the picture is mirrored sideways before."""
    matrix = _display_matrix(raw)
    if matrix is None:
        return 0, False
    # FFmpeg's rows: x' = a x + c y, y' = b x + d y, with y downwards.
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    turns = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
    return turns, mirrored


def _display_matrix(raw: Any) -> NDArray[np.int32] | None:
    kind = pyav().sidedata.sidedata.Type.DISPLAYMATRIX
    for one in raw.side_data:
        if one.type == kind:
            return np.frombuffer(bytes(one), dtype=np.int32)  # (9,)
    return None


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def pyav() -> Any:
    try:
        import av
        import av.sidedata.sidedata
    except ImportError as error:
        raise InputError("videos need PyAV; pip install 'peft-suite[text_video_retrieval]'") from error
    return av
