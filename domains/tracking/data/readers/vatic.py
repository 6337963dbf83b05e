"""VATIC's lines, as NFS has them: id xmin ymin xmax ymax frame lost occluded generated "label"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.tracking.data.readers.boxes import lines_of, numbers
from domains.tracking.data.sequences import Track
from suite.errors import InputError


def read_vatic(path: Path, frames: int, every: int = 1) -> Track:
    """The object of a file.

    Args:
        frames: of the sequence that is read.
        every: the file counts so many frames to each of them: 8 for NFS at 30 frames a second. Every so many-th line
            is taken.

    Raises:
        InputError: it cannot be read, or a line is none of the format.
    """
    boxes, hidden = np.full((frames, 4), np.nan), np.zeros(frames, bool)
    label, origin = "", None
    for number, line in enumerate(lines_of(path)[::every]):
        where = f"{path}: line {number * every + 1}"
        fields, _, label = line.partition('"')
        found = numbers(fields, where)
        if len(found) < 9:
            raise InputError(
                f"{where}: {len(found)} numbers; VATIC has id xmin ymin xmax ymax frame lost occluded generated"
            )
        # VATIC counts from 0, NFS from 1.
        origin = min(int(found[5]), 1) if origin is None else origin
        frame = (int(found[5]) - origin) // every
        if 0 <= frame < frames:
            boxes[frame], hidden[frame] = found[1:5], found[6] == 1 or found[7] == 1
    return Track.of(boxes, ~hidden, kind=label.strip('" '))
