"""Where a video is cut into segments: at equal steps in time, or where a shot ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from suite.media.video import read_frames

By = Literal["time", "shots"]

LOOKS = 4.0
"""Frames a second that are compared to find where a shot ends."""
CUT, ABOVE = 24.0, 3.0
"""A shot ends where pictures differ by so many of 255, and so many times as much as those before."""
SHORTEST = 1.0
"""Seconds; a shorter shot goes with the next."""


@dataclass(frozen=True)
class Cut:
    """How videos are cut.

    Attributes:
        seconds: of a segment, about. hop: seconds from one's start to the next's; of shots it has no meaning.
    """

    seconds: float
    hop: float
    by: By = "time"


@dataclass(frozen=True)
class Grid:
    """Equal steps in time, and segments that are so many of them one after another.

    Attributes:
        times: of each step, its middle, seconds. first: steps at which segments begin. step: seconds.
    """

    times: tuple[float, ...]
    first: tuple[int, ...]
    step: float


def grid(length: float, frames: int, cut: Cut) -> Grid:
    """Steps of a whole video, so that its last segment ends with it; overlapping segments share their frames."""
    count = max(1, round(length / cut.seconds)) * frames
    step = length / count
    stride = min(frames, max(1, round(cut.hop / step)))
    first = [*range(0, count - frames + 1, stride)]
    if first[-1] != count - frames:
        first.append(count - frames)
    return Grid(tuple((np.arange(count) + 0.5) * step), tuple(first), step)


def shots(path: str | Path, length: float, cut: Cut) -> list[tuple[float, float]]:
    """Start and end of every shot, seconds; long ones are cut into equal parts of about `cut.seconds`.

    Raises:
        InputError: the video cannot be read.
    """
    edges = [0.0, *_ends(path), length]
    found: list[tuple[float, float]] = []
    start = 0.0
    for end in edges[1:]:
        if end - start < SHORTEST and end < length:
            continue
        parts = max(1, round((end - start) / cut.seconds))
        bounds = np.linspace(start, end, parts + 1).tolist()
        found += pairwise(bounds)
        start = end
    return found


def _ends(path: str | Path) -> list[float]:
    """The times at which another shot begins."""
    found, before = [], None
    recent: deque[float] = deque(maxlen=8)
    for frame in read_frames(path, fps=LOOKS):
        small = np.asarray(Image.fromarray(frame.pixels).resize((24, 24), Image.Resampling.BOX)).astype(np.float32)
        if before is not None:
            differs = float(np.abs(small - before).mean())
            if differs > CUT and differs > ABOVE * float(np.mean(recent or [0.0])):
                found.append(frame.time)
                recent.clear()
            else:
                recent.append(differs)
        before = small
    return found
