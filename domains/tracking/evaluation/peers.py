"""Other programs' trackers, which need no weights: OpenCV's CSRT, KCF and MIL, to compare with on the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from domains.tracking.data.pictures import Pixels
from domains.tracking.types import Box, TrackedBox
from suite.errors import InputError

PeerName = Literal["csrt", "kcf", "mil"]

PEERS: tuple[PeerName, ...] = get_args(PeerName)


class OpenCvFollower:
    """One of OpenCV's trackers for each object; where it gives up, the last box stays and is called lost.

    Args:
        name: csrt, kcf or mil.

    Raises:
        InputError: this OpenCV has no such tracker.
    """

    def __init__(self, name: PeerName) -> None:
        self.name = name
        self._make = _maker(name)
        self._trackers: dict[str, Any] = {}
        self._last: dict[str, TrackedBox] = {}

    def add(self, name: str, frame: Pixels, box: Box) -> None:
        x, y, width, height = (round(number) for number in box)
        tracker = self._make()
        tracker.init(_bgr(frame), (x, y, max(1, width), max(1, height)))
        self._trackers[name], self._last[name] = tracker, TrackedBox(box, 1.0)

    def remove(self, name: str) -> None:
        del self._trackers[name], self._last[name]

    def track(self, frame: Pixels) -> Mapping[str, TrackedBox]:
        picture, found = _bgr(frame), {}
        for name, tracker in self._trackers.items():
            held, box = tracker.update(picture)
            # They say whether they found it, and nothing of how sure they are.
            last = self._last[name].box
            found[name] = TrackedBox(tuple(map(float, box)), 1.0) if held else TrackedBox(last, 0.0, "lost")  # type: ignore[arg-type]
        self._last.update(found)
        return found


def _maker(name: str) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"peer {name} needs OpenCV; pip install opencv-contrib-python-headless") from error
    if name not in PEERS:
        raise InputError(f"no peer is called {name!r}; there is {', '.join(PEERS)}")
    maker = getattr(cv2, f"Tracker{name.upper()}_create", None)
    if maker is None:
        raise InputError(
            f"this OpenCV ({cv2.__version__}) has no {name.upper()}; "
            "pip install opencv-contrib-python-headless in place of opencv-python-headless"
        )
    return maker


def _bgr(frame: Pixels) -> Pixels:
    return np.ascontiguousarray(frame[..., ::-1])
