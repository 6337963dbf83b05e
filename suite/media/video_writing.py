"""Videos written: frames with their times to an MP4 that players and browsers open; an annotated copy of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import InputError
from suite.files import atomic_file
from suite.media.video import Frame, Pixels, Source, probe, read_frames
from suite.media.video_decoding import pyav

_CLOCK = Fraction(1, 90_000)
"""Of what we write: the clock of broadcast, a multiple of every usual rate, so that no frame's time is rounded off."""


class VideoWriter:
    """Frames to a video; made by `video_writer`.

    All frames have one size, that of the first.
    """

    def __init__(self, container: Any, fps: Fraction, name: str) -> None:
        self._container, self._fps, self._name = container, fps, name
        self._stream: Any = None
        self._size = (0, 0)
        self._last: int | None = None
        self.frames = 0

    def write(self, pixels: Pixels, time: float | None = None) -> None:
        """Add a frame (height, width, 3).

        Args:
            time: seconds from the first frame; one frame after the last at the video's rate where left out.

        Raises:
            ValueError: it is not of the first frame's size, or not after the last one.
        """
        av = pyav()
        height, width = pixels.shape[:2]
        if self._stream is None:
            self._stream = self._begin(width, height)
        if (width, height) != self._size:
            raise ValueError(f"{self._name}: a frame of {width} x {height} in a video of {self._size}")
        step = 1 / (self._fps * _CLOCK)
        stamp = round(time / _CLOCK) if time is not None else (0 if self._last is None else round(self._last + step))
        if self._last is not None and stamp <= self._last:
            raise ValueError(f"{self._name}: frame {self.frames} at {time} s is not after the one before")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = stamp, _CLOCK
        self._last = stamp
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _begin(self, width: int, height: int) -> Any:
        stream = self._container.add_stream("libx264", rate=self._fps, options={"crf": "20", "preset": "fast"})
        stream.width, stream.height = width, height
        self._size = (width, height)
        # Halved colour, which every browser plays, has no odd sizes; and a copy has the size of its original.
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.codec_context.time_base = _CLOCK
        return stream


@contextmanager
def video_writer(path: str | Path, fps: Fraction | float) -> Iterator[VideoWriter]:
    """Write an MP4 (H.264), all or nothing.

    Args:
        fps: the rate, where frames come without times of their own.

    Raises:
        InputError: the rate is none, `path` is a folder, or no frame was written.
    """
    if not fps > 0:
        raise InputError(f"{path}: {fps} frames a second; give a rate above 0")
    rate = Fraction(fps).limit_denominator(1001)
    with atomic_file(path) as temporary:
        container = pyav().open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            writer = VideoWriter(container, rate, str(path))
            yield writer
            writer.finish()
        finally:
            container.close()
        if not writer.frames:
            raise InputError(f"{path}: no frame to write")


def annotate(source: Source, target: str | Path, draw: Callable[[Frame], Pixels]) -> int:
    """Write a copy of a video with every frame drawn over: as many frames, at the same times, of the same size.

    Args:
        draw: the frame to the picture that takes its place, of the same size; it may draw on the frame itself.

    Returns:
        The number of frames.

    Raises:
        InputError: the source cannot be read, or says no rate; nothing is written then.
    """
    rate = probe(source).rate(str(source))
    with video_writer(target, rate) as writer:
        for frame in read_frames(source):
            writer.write(draw(frame), frame.time)
    return writer.frames
