"""What follows objects from frame to frame: the contract of sessions with a model and of other programs' trackers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from domains.tracking.data.pictures import Pixels
from domains.tracking.output.panels import View
from domains.tracking.types import Box, TrackedBox


@runtime_checkable
class Follower(Protocol):
    """Several objects of one video, each from the frame that it was added in.

    >>> follower.add("dog", first, (120, 80, 60, 90))
    >>> follower.track(second)["dog"].box
    """

    def add(self, name: str, frame: Pixels, box: Box) -> None:
        """Follow an object from this frame on; one of that name that is followed already begins anew.

        Args:
            frame: (height, width, 3), RGB. box: x, y, w, h, with a part in the frame.
        """
        ...

    def remove(self, name: str) -> None:
        """Follow it no longer; a later `add` of the name begins anew."""
        ...

    def track(self, frame: Pixels) -> Mapping[str, TrackedBox]:
        """The objects in the next frame, in the order in which they were added."""
        ...


@runtime_checkable
class Seeing(Protocol):
    """A follower that can show what it looked at."""

    def view(self, name: str) -> View | None:
        """What it saw of an object in the last frame; None before there was one."""
        ...
