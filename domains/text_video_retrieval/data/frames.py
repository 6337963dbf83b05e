"""Which frames of a video stand for it, and reading them: the papers' rule over frames, decoded by their times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError
from suite.media.video import frame_times, frames_at, probe

MOST_FPS = 480.0
"""Above this a stated rate is a mistake of the file; cameras reach 240."""


@dataclass(frozen=True)
class Read:
    """The frames of a video, or of a part of it.

    Attributes:
        pictures: N of (height, width, 3). times: of each, seconds from the video's first frame.
        short: the part has fewer frames than were asked for, so that some are there several times.
        notices: what was unusual, for people.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    times: tuple[float, ...]
    short: bool
    notices: tuple[str, ...] = ()


def positions(first: int, last: int, count: int, fps: float, rate: float = 1.0) -> list[int]:
    """CLIP4Clip's choice of frames.

    Candidates are `rate` frames a second from `first` to `last`, both counted; of more than `count` some are chosen
    evenly, and with fewer the frames themselves are, whatever their rate.

    >>> positions(0, 99, 4, fps=25)
    [0, 25, 50, 75]
    """
    stride = max(1, round(fps / rate))
    candidates = range(first, last + 1, stride)
    if len(candidates) > count:
        return [candidates[place] for place in np.linspace(0, len(candidates) - 1, count, dtype=int)]
    if len(candidates) == count:
        return list(candidates)
    return np.linspace(first, last, count, dtype=int).tolist()


def window(start: float | None, end: float | None, frames: int, fps: float) -> tuple[int, int]:
    """The first and the last frame of a part in seconds, as the papers' code rounds: swapped bounds are exchanged.

    Raises:
        InputError: the video ends before the part begins.
    """
    if start is None and end is None:
        return 0, frames - 1
    begin = int(max(0.0, start or 0.0))
    until = int(max(0.0, end)) if end is not None else math.inf
    if begin > until:
        begin, until = int(until), float(begin)
    elif begin == until:
        until += 1
    first, last = int(begin * fps), int(min(until * fps, frames - 1))
    if first > last:
        raise InputError(f"begins at {begin} s, after its last frame")
    return first, last


def rate_of(path: str | Path, times: NDArray[np.float64]) -> tuple[float, str]:
    """The frames a second of a video, and a notice where it states none that can be."""
    stated = probe(path).fps
    if stated is not None and 0 < float(stated) <= MOST_FPS:
        return float(stated), ""
    length = float(times[-1] - times[0])
    found = (len(times) - 1) / length if length > 0 else 1.0
    return (
        found,
        f"states {'no' if stated is None else float(stated)} frames a second; its frames' times say {found:.2f}",
    )


def read_clip(
    path: str | Path, count: int, *, rate: float = 1.0, start: float | None = None, end: float | None = None
) -> Read:
    """Read `count` frames of a video, or of its part from `start` to `end` in seconds.

    Raises:
        InputError: it cannot be read, or has no frame there.
    """
    times = frame_times(path)
    fps, notice = rate_of(path, times)
    try:
        first, last = window(start, end, len(times), fps)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return read_frames(
        path, times, positions(first, last, count, fps, rate), short=last - first + 1 < count, notice=notice
    )


def read_frames(
    path: str | Path, times: NDArray[np.float64], places: Sequence[int], *, short: bool = False, notice: str = ""
) -> Read:
    """Read the frames at these places of a video whose frames have these times."""
    frames = [*frames_at(path, times[list(places)].tolist())]
    notices = [notice] if notice else []
    if short:
        notices.append(f"has fewer than {len(places)} frames: some are used several times")
    pictures = tuple(frame.pixels for frame in frames)
    return Read(pictures, tuple(frame.time for frame in frames), short, tuple(notices))
