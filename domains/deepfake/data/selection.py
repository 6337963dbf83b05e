"""Which frames of a video are looked at."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from suite.errors import InputError


def evenly(total: int, count: int) -> list[int]:
    """`count` indices from the first frame to the last, rounded down (DeepfakeBench); short videos repeat frames.

    >>> evenly(40, 4)
    [0, 13, 26, 39]

    Raises:
        InputError: the video has no frame.
    """
    _check(total)
    return [int(index) for index in np.linspace(0, total - 1, count, endpoint=True, dtype=int)]


def strided(total: int, stride: int) -> list[int]:
    """Every `stride`-th index from the first.

    Raises:
        InputError: the video has no frame, or the stride is none.
    """
    _check(total)
    if stride < 1:
        raise InputError(f"stride {stride}: give 1 or more")
    return list(range(0, total, stride))


def farthest_first(total: int) -> Iterator[int]:
    """All indices, each as far as can be from those before, the middle one first (GenD's `at_least`).

    Of several equally far ones the first comes first. For taking frames until enough have a face.

    >>> list(farthest_first(5))
    [2, 0, 4, 1, 3]

    Raises:
        InputError: the video has no frame.
    """
    _check(total)
    start = total // 2
    yield start
    # Gaps between chosen neighbours: the farthest index of a gap is its middle, at its edges the first or last frame.
    heap: list[tuple[int, int, int, int]] = []

    def offer(low: int, high: int) -> None:
        """The best index strictly between two chosen ones; -1 and `total` stand for the open ends."""
        if high - low < 2:
            return
        if low < 0:
            index, distance = 0, high
        elif high >= total:
            index, distance = total - 1, total - 1 - low
        else:
            index = (low + high) // 2
            distance = min(index - low, high - index)
        heapq.heappush(heap, (-distance, index, low, high))

    offer(-1, start)
    offer(start, total)
    while heap:
        _, index, low, high = heapq.heappop(heap)
        yield index
        offer(low, index)
        offer(index, high)


def _check(total: int) -> None:
    if total < 1:
        raise InputError("the video says that it has 0 frames; get it anew or convert it")
