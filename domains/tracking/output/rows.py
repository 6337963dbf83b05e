"""Boxes of many frames in little memory: a few numbers a frame and object, the oldest given up where none ends."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from domains.tracking.types import FrameResult, Status, TrackedBox

_STATUSES: tuple[Status, ...] = get_args(Status)


class TrackRows:
    """Results of frames, in order.

    Args:
        most: frames that are kept; older ones go, in halves. None: all.

    Attributes:
        names: of the objects, in the order in which they came. frames: how many came. first: of those that are kept.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.names: list[str] = []
        self.frames = 0
        self._places: dict[str, int] = {}
        self._index, self._time, self._ends = array("q"), array("d"), array("q")
        self._object, self._status = array("H"), array("B")
        self._numbers = array("d")  # x, y, w, h, score

    def add(self, result: FrameResult) -> None:
        for name, found in result.objects.items():
            if name not in self._places:
                self._places[name] = len(self.names)
                self.names.append(name)
            self._object.append(self._places[name])
            self._status.append(_STATUSES.index(found.status))
            self._numbers.extend((*(found.box or (np.nan,) * 4), found.score))
        self._index.append(result.index)
        self._time.append(result.time)
        self._ends.append(len(self._object))
        self.frames += 1
        if self.most is not None and len(self._index) >= 2 * self.most:
            self._forget(len(self._index) - self.most)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[FrameResult]:
        start = 0
        for index, time, end in zip(self._index, self._time, self._ends, strict=True):
            yield FrameResult(
                index, time, {self.names[self._object[row]]: self._found(row) for row in range(start, end)}
            )
            start = end

    @property
    def indices(self) -> NDArray[np.int64]:
        """(frames,), of those that are kept."""
        return np.array(self._index, np.int64)

    @property
    def times(self) -> NDArray[np.float64]:
        """(frames,), seconds."""
        return np.array(self._time, np.float64)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(frames, 5): x, y, w, h and score of an object; NaN where it is not followed, or not reported."""
        table = np.full((len(self), 5), np.nan)
        rows = np.frombuffer(self._object, np.uint16) == self._places[name] if self._object else np.zeros(0, bool)
        frame = np.searchsorted(np.array(self._ends), np.flatnonzero(rows), side="right")
        if len(frame):
            table[frame] = np.frombuffer(self._numbers, np.float64).reshape(-1, 5)[rows]
        return table

    def statuses(self, name: str) -> list[Status | None]:
        """Of each frame; None where it is not followed."""
        found: list[Status | None] = [None] * len(self)
        start = 0
        for frame, end in enumerate(self._ends):
            for row in range(start, end):
                if self._object[row] == self._places[name]:
                    found[frame] = _STATUSES[self._status[row]]
            start = end
        return found

    def _found(self, row: int) -> TrackedBox:
        x, y, width, height, score = self._numbers[5 * row : 5 * row + 5]
        box = None if np.isnan(x) else (x, y, width, height)
        return TrackedBox(box, score, _STATUSES[self._status[row]])

    def _forget(self, frames: int) -> None:
        rows = self._ends[frames - 1]
        del self._index[:frames], self._time[:frames], self._ends[:frames]
        del self._object[:rows], self._status[:rows], self._numbers[: 5 * rows]
        self._ends = array("q", (end - rows for end in self._ends))
