"""Videos as frames with times: files, streams, pipes and cameras, decoded by FFmpeg (PyAV) a frame at a time.

A moment is seconds from the first picture, never a number of frames: with a variable rate the two are different things.
Pictures come turned as the file says that they are to be shown. Whatever the length, a few frames are held at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError
from suite.media.video_decoding import EPSILON, Pixels, Source, Video, VideoInfo, nothing, opened

__all__ = ["SUFFIXES", "Frame", "Pixels", "Source", "VideoInfo", "frame_times", "frames_at", "probe", "read_frames"]

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv")

_JUMP = 3.0
"""Seconds ahead from which seeking is worth more than decoding what lies between: about one group of pictures."""


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        time: seconds from the video's first picture.
        pixels: (height, width, 3), uint8, RGB, turned as it is to be shown.
        index: its place among the frames that were decoded one after another from the first; None after a seek.
    """

    time: float
    pixels: Pixels
    index: int | None = None


def probe(source: Source) -> VideoInfo:
    """What a video says of itself; of its pictures at most the first is decoded, for its rotation.

    Raises:
        InputError: it cannot be opened, or holds no picture.
    """
    with opened(source) as video:
        return video.info()


def read_frames(
    source: Source,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    most_frames: int | None = None,
) -> Iterator[Frame]:
    """Yield the frames of a video in order of time.

    Args:
        start, end: seconds; frames with start <= time < end. A file is sought to `start`, a stream is read up to it.
        fps: at most so many frames a second: of those between two ticks of this clock the first; all where left out.
        most_frames: refuse a video of more frames than this, those of it having been yielded.

    Raises:
        InputError: it cannot be opened, holds no picture or none between `start` and `end`, is larger than the limits,
            or ends before the end that it states (after the frames that are there).
    """
    if start < 0 or (end is not None and end <= start):
        raise InputError(f"from {start} to {end} s is no part of a video; give 0 <= start < end")
    if fps is not None and not fps > 0:
        raise InputError(f"{fps} frames a second: give a number above 0")
    with opened(source) as video:
        yielded, tick = 0, -1
        for time, index, raw in video.decoded(start):
            if time < start - EPSILON:
                continue
            if end is not None and time >= end - EPSILON:
                break
            if fps is not None:
                # Ticks count from `start`: the same part gives the same frames wherever decoding began.
                passed = int((time - start) * fps + EPSILON)
                if passed == tick:
                    continue
                tick = passed
            if most_frames is not None and yielded == most_frames:
                raise InputError(f"{video.name}: more than {most_frames} frames; give a part of it, or a higher limit")
            yielded += 1
            yield Frame(time, video.pixels(raw), index)
        if not yielded:
            _refuse_nothing(video, start, end)


def frames_at(source: Source, times: Sequence[float]) -> Iterator[Frame]:
    """Yield, for each of these moments, the frame that is on the screen then.

    That is the last one that does not begin later; before the first it is the first, after the last it is the last.

    Args:
        times: seconds, ascending.

    Raises:
        InputError: as for `read_frames`.
        ValueError: the times do not ascend.
    """
    wanted = [float(time) for time in times]
    if any(later < sooner for sooner, later in pairwise(wanted)):
        raise ValueError("frames_at: times must ascend")
    if not wanted:
        return
    with opened(source) as video:
        frames = video.decoded(wanted[0])
        following = next(frames, None)
        if following is None:
            raise InputError(nothing(video.name))
        shown, pixels = following, None
        for moment in wanted:
            if following is not None and moment - following[0] > _JUMP and video.seekable:
                frames.close()
                frames = video.decoded(moment)
                # A cut file has no frame left there, and what was shown last stays on the screen.
                following = next(frames, None)
                if following is not None:
                    shown, pixels = following, None
            while following is not None and following[0] <= moment + EPSILON:
                shown, pixels = following, None
                following = next(frames, None)
            # Neighbouring moments often share a frame: it is turned and converted once.
            pixels = video.pixels(shown[2]) if pixels is None else pixels
            yield Frame(shown[0], pixels.copy(), shown[1])


def frame_times(source: Source) -> NDArray[np.float64]:
    """The time of every frame, ascending, in seconds from the first: (frames,). Nothing is decoded.

    The way from a frame's index to its time: `frames_at(source, frame_times(source)[indices])`.

    Raises:
        InputError: as for `read_frames`.
    """
    with opened(source) as video:
        times = video.packet_times()
    if not len(times):
        raise InputError(nothing(video.name))
    return times


def _refuse_nothing(video: Video, start: float, end: float | None) -> None:
    if start > 0 or end is not None:
        length = video.duration()
        lasts = f"; it lasts {length:.2f} s" if length else ""
        until = "its end" if end is None else f"{end:g} s"
        raise InputError(f"{video.name}: no frame from {start:g} s to {until}{lasts}")
    raise InputError(nothing(video.name))
