"""MOTChallenge's text files: frame, id, left, top, width, height, confidence, class, visibility; all counted from 1."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from domains.tracking.data.readers.boxes import lines_of, numbers
from domains.tracking.data.sequences import Track
from suite.errors import InputError

_FEWEST = 6


def read_mot(path: Path, frames: int) -> Mapping[str, Track]:
    """The objects of a ground truth by their ids, in order of their ids.

    Rows of confidence 0 are those that the benchmark ignores; a visibility of 0 is an object out of sight.

    Args:
        frames: of the sequence.

    Raises:
        InputError: it cannot be read, a line is none of the format, or a frame is beyond the last.
    """
    rows: dict[int, dict[int, tuple[float, ...]]] = defaultdict(dict)
    hidden: set[tuple[int, int]] = set()
    for number, line in enumerate(lines_of(path), 1):
        where = f"{path}: line {number}"
        found = numbers(line, where)
        if len(found) < _FEWEST or not all(map(math.isfinite, found[:_FEWEST])):
            raise InputError(f"{where}: write frame,id,left,top,width,height and more")
        frame, own = int(found[0]) - 1, int(found[1])
        if not 0 <= frame < frames:
            raise InputError(f"{where}: frame {frame + 1} of a sequence of {frames}; they count from 1")
        if len(found) > 6 and found[6] == 0:
            continue
        if frame in rows[own]:
            raise InputError(f"{where}: object {own} has a second box in frame {frame + 1}; keep one")
        rows[own][frame] = tuple(found[2:6])
        if len(found) > 8 and found[8] == 0:
            hidden.add((own, frame))
    tracks = {}
    for own in sorted(one for one in rows if rows[one]):
        boxes = np.full((frames, 4), np.nan)
        for frame, (x, y, width, height) in rows[own].items():
            boxes[frame] = (x - 1, y - 1, x - 1 + width, y - 1 + height)
        seen = np.array([(own, frame) not in hidden for frame in range(frames)])
        tracks[str(own)] = Track.of(boxes, seen)
    if not tracks:
        raise InputError(f"{path}: holds no box; write frame,id,left,top,width,height")
    return tracks
