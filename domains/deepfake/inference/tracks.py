"""Faces of one person through a video: each frame's boxes joined to those before by their overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

Box = tuple[float, float, float, float]

LEAST = 0.1
"""Overlap (intersection over union) from which on two boxes may be one face: frames may be seconds apart."""


class Tracks:
    """Gives every face of a frame the number of its track; frames come in order of time."""

    def __init__(self) -> None:
        self._last: dict[int, Box] = {}

    def take(self, boxes: Sequence[Box]) -> list[int]:
        """Numbers of the tracks of a frame's boxes."""
        numbers = [-1] * len(boxes)
        known = list(self._last)
        if boxes and known:
            overlaps = np.array([[overlap(self._last[track], box) for box in boxes] for track in known])
            for row, column in zip(*linear_sum_assignment(-overlaps), strict=True):
                if overlaps[row, column] >= LEAST:
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


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared)
