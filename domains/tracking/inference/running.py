"""One video followed from its first boxes to its end, frame by frame; nothing is kept but what is asked for."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from domains.tracking.data.pictures import Pixels
from domains.tracking.data.readers.first_boxes import Start
from domains.tracking.inference.following import Follower, Seeing
from domains.tracking.inference.footage import Footage
from domains.tracking.inference.starting import fitted, starts_of
from domains.tracking.output.panels import View
from domains.tracking.types import FrameResult, TrackedBox, TrackQuery
from suite.errors import InputError


@dataclass(frozen=True)
class VideoStep:
    """One frame that was read.

    Attributes:
        result: None for frames before tracking begins, or that the stride passes over.
    """

    picture: Pixels
    time: float
    result: FrameResult | None


@dataclass
class Speed:
    """What tracking costs.

    Attributes:
        frames: that were tracked. tracking: seconds in the tracker. whole: seconds altogether, reading included.
        skipped: frames of a live source that were passed over.
    """

    frames: int = 0
    tracking: float = 0.0
    whole: float = 0.0
    skipped: int = 0

    def to_dict(self) -> dict[str, float | int]:
        """Frames a second of the tracker, of everything, and milliseconds a frame."""
        rate = self.frames / self.tracking if self.tracking else 0.0
        return {
            "frames": self.frames,
            "fps_tracking": round(rate, 2),
            "fps_with_reading": round(self.frames / self.whole, 2) if self.whole else 0.0,
            "ms_per_frame": round(1000 / rate, 2) if rate else 0.0,
            "skipped": self.skipped,
        }


@dataclass
class VideoRun:
    """A video being followed.

    Args:
        follower: fresh; nothing is followed yet.

    Attributes:
        notices: what was odd, for people, once each. speed: of what is done so far.
    """

    footage: Footage
    follower: Follower
    query: TrackQuery
    notices: list[str] = field(default_factory=list)
    speed: Speed = field(default_factory=Speed)
    _followed: dict[str, None] = field(default_factory=dict, repr=False)
    _size: tuple[int, int] | None = field(default=None, repr=False)

    def steps(self) -> Generator[VideoStep]:
        """Every frame from the first on, tracked from the start frame.

        Raises:
            InputError: a frame cannot be read, a box is none, or there is no start frame.
        """
        query, begun = self.query, time.perf_counter()
        waiting: list[Start] | None = None
        held: dict[str, TrackedBox] = {}
        picture: Pixels | None = None
        for shot in self.footage.shots(newest=query.newest):
            self.speed.skipped += shot.skipped
            if shot.pixels is None and (query.on_damage == "stop" or picture is None or waiting is None):
                raise InputError(f"frame {shot.index}: {shot.why}; leave it out, or go on with --on-damage hold")
            damaged, picture = shot.pixels is None, picture if shot.pixels is None else shot.pixels
            assert picture is not None
            self._watch(picture)
            if shot.index < query.start_frame or (shot.index - query.start_frame) % query.stride:
                yield VideoStep(picture, shot.time, None)
                continue
            if waiting is None:
                waiting = starts_of(query, self.footage, picture)
            if damaged:
                self._say(f"frame {shot.index} cannot be read; the last boxes are held in such frames")
                objects = {**held}
            else:
                clock = time.perf_counter()
                objects = self._tracked(picture, shot.index, waiting)
                self.speed.tracking += time.perf_counter() - clock
            held = dict(objects)
            self.speed.frames += 1
            self.speed.whole = time.perf_counter() - begun
            yield VideoStep(picture, shot.time, FrameResult(shot.index, shot.time, objects))
            if query.max_frames is not None and self.speed.frames >= query.max_frames:
                return
        if waiting is None:
            raise InputError(f"ends before frame {query.start_frame}, where tracking should begin; frames count from 0")

    def views(self) -> Mapping[str, View]:
        """What the follower looked at in the last frame, where it shows that."""
        if not isinstance(self.follower, Seeing):
            return {}
        found = {name: self.follower.view(name) for name in self._followed}
        return {name: view for name, view in found.items() if view is not None}

    def _tracked(self, picture: Pixels, index: int, waiting: list[Start]) -> dict[str, TrackedBox]:
        objects = dict(self.follower.track(picture)) if self._followed else {}
        # With a stride, what begins between two frames begins in the next one.
        while waiting and waiting[0].frame <= index:
            start = waiting.pop(0)
            box, odd = fitted(start.box, (picture.shape[1], picture.shape[0]), start.name)
            self._say(odd)
            self.follower.add(start.name, picture, box)
            self._followed[start.name] = None
            objects[start.name] = TrackedBox(box, 1.0)
        return objects

    def _watch(self, picture: Pixels) -> None:
        size = (picture.shape[1], picture.shape[0])
        if self._size is not None and size != self._size:
            self._say(f"frames change their size, from {self._size[0]} x {self._size[1]} to {size[0]} x {size[1]}")
        self._size = size

    def _say(self, notice: str) -> None:
        if notice and notice not in self.notices:
            self.notices.append(notice)
