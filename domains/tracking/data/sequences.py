"""Annotated sequences: frames, and where each object is in them; what all readers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from domains.tracking.data.frames import Frames
from suite.errors import InputError

Boxes = NDArray[np.float64]
"""(frames, 4): left, top, right, bottom, continuous, from 0; NaN where nothing is known of a frame."""


@dataclass(frozen=True)
class Track:
    """One object over all frames of a sequence.

    Attributes:
        boxes: (frames, 4).
        present: (frames,), whether it is in sight. Of a frame that is not annotated it is False.
        covered: (frames,), whether it is hidden as a whole, as GOT-10k's figures count it.
        annotated: whether all frames are; of a test set often only the first is.
        kind: what it is, where that is known.
    """

    boxes: Boxes
    present: NDArray[np.bool_]
    covered: NDArray[np.bool_] | None = None
    annotated: bool = True
    kind: str = ""

    @classmethod
    def of(cls, boxes: Boxes, present: NDArray[np.bool_] | None = None, **about: object) -> Track:
        """A track whose empty and unknown boxes are no sight of it."""
        there = np.isfinite(boxes).all(1) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        return cls(boxes, there if present is None else there & present, **about)  # type: ignore[arg-type]

    @property
    def first(self) -> int:
        """The first frame in which it is in sight.

        Raises:
            InputError: there is none.
        """
        frames = np.flatnonzero(self.present)
        if not len(frames):
            raise InputError("the object is in sight in no frame; leave it out")
        return int(frames[0])

    def cleaned(self, size: tuple[int, int]) -> Track:
        """For training: boxes cut to the frame, and what then is less than a pixel wide or high absent."""
        known = np.nan_to_num(self.boxes)
        boxes = np.clip(known, 0, [*size, *size])
        return replace(self, boxes=boxes, present=self.present & ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1))


@dataclass(frozen=True)
class AnnotatedSequence:
    """One sequence.

    Attributes:
        name: unique in its set; a plain file name.
        tracks: by name of the object.
        attributes: what is hard about it, in the benchmark's words.
        fps: frames a second, where known.
        text: what is followed, in words, where the benchmark says it.
    """

    name: str
    frames: Frames
    tracks: Mapping[str, Track]
    attributes: tuple[str, ...] = ()
    fps: float | None = None
    text: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name)
        for name, track in self.tracks.items():
            if len(track.boxes) != len(self.frames):
                raise InputError(
                    f"{self.name}: {len(track.boxes)} boxes of {name} for {len(self.frames)} frames; "
                    "give one for each frame"
                )

    @property
    def track(self) -> Track:
        """Its only, or first, object."""
        return next(iter(self.tracks.values()))

    def single(self) -> list[AnnotatedSequence]:
        """A sequence for each object, from the first frame in which it is in sight."""
        if len(self.tracks) == 1:
            return [self]
        return [replace(self, name=f"{self.name}-{name}", tracks={name: track}) for name, track in self.tracks.items()]


@dataclass(frozen=True)
class SequenceSet:
    """Sequences of one split of one data set.

    Attributes:
        benchmark: whose conventions its figures follow.
        notices: what is unusual about it, for people.
    """

    name: str
    benchmark: str
    sequences: Sequence[AnnotatedSequence]
    notices: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.sequences)


def checked_name(name: str) -> str:
    """The name, once it is certain that no path leads out of a folder by it.

    Raises:
        InputError: it is empty, or has a path in it.
    """
    if (
        not name
        or name in (".", "..")
        or "/" in name
        or "\\" in name
        or "\0" in name
        or PurePosixPath(name).is_absolute()
    ):
        raise InputError(f"{name!r} is no name of a sequence; give one without / and ..")
    return name


def from_xywh(boxes: Boxes, origin: float = 0) -> Boxes:
    """Rows of x, y, width, height as corners.

    Args:
        origin: what the source calls its first pixel, 0 or 1.
    """
    corners = boxes.astype(np.float64).copy()
    corners[:, :2] -= origin
    corners[:, 2:] += corners[:, :2]
    return corners


def to_xywh(boxes: Boxes) -> Boxes:
    """Corners as rows of x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
