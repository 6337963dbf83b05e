"""Faces of one person through a video: each frame's boxes joined to those before by their overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

Box = tuple[float, float, float, float]

LEAST = 0.1
"""Overlap (intersection over union) from which on two boxes may be one face: frames may be seconds apart."""

NEAR, ALIKE = 2.0, 2.0
"""Faces that do not overlap may be one all the same: as far apart as twice their side, one at most twice as large."""


class Tracks:
    """Gives every face of a frame the number of its track; frames come in order of time."""

    def __init__(self) -> None:
        self._last: dict[int, Box] = {}

    def take(self, boxes: Sequence[Box]) -> list[int]:
        """Numbers of the tracks of a frame's boxes."""
        numbers = [-1] * len(boxes)
        known = list(self._last)
        if boxes and known:
            likely = np.array([[likeness(self._last[track], box) for box in boxes] for track in known])
            for row, column in zip(*linear_sum_assignment(-likely), strict=True):
                if likely[row, column] > 0:
                    numbers[column] = known[row]
        for place, number in enumerate(numbers):
            if number < 0:
                numbers[place] = len(self._last)
            self._last[numbers[place]] = boxes[place]
        return numbers


class OneTrack:
    """As `Tracks` where one face a frame is looked at: whoever it is, it is the video's."""

    def take(self, boxes: Sequence[Box]) -> list[int]:
        return [0] * len(boxes)


def likeness(first: Box, second: Box) -> float:
    """How likely two boxes of following frames are one face: 1 and more where they overlap, 0 where they are not."""
    shared = overlap(first, second)
    if shared >= LEAST:
        return 1 + shared
    sides = [((box[2] - box[0]) + (box[3] - box[1])) / 2 for box in (first, second)]
    if not min(sides) > 0 or max(sides) > ALIKE * min(sides):
        return 0.0
    across, down = (((first[n] + first[n + 2]) - (second[n] + second[n + 2])) / 2 for n in (0, 1))
    return max(0.0, 1 - float(np.hypot(across, down)) / (NEAR * max(sides)))


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared)
