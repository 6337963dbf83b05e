"""What a prediction is asked for and the values that users see. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""(x, y, w, h) in pixels of the frame; x, y is the top left corner, 0-based and continuous: the box ends at x + w."""

Status = Literal["tracked", "uncertain", "lost"]
"""Of an object in one frame, by its score with hysteresis."""

MemoryPolicy = Literal["segments", "thirds"]
"""Which earlier frames are the templates of a frame."""

WhenLost = Literal["go_on", "freeze", "keep_templates", "enlarge", "hide"]
"""What happens to a lost object: nothing (as published), its last box stays, its templates stay, it is searched in a
larger region, or it has no box."""


@dataclass(frozen=True)
class TrackedBox:
    """One object in one frame.

    Attributes:
        box: where it is; None where a lost object is not reported.
        score: the model's confidence, 0 to 1, trained towards the overlap with the truth; 1 in the frame of the first
            box.
        status: tracked, uncertain or lost.
    """

    box: Box | None
    score: float
    status: Status = "tracked"

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {"box": None if self.box is None else list(self.box), "score": self.score, "status": self.status}


@dataclass(frozen=True)
class FrameResult:
    """All objects in one frame.

    Attributes:
        index: of the frame, from 0. time: in seconds from the video's start.
        objects: name of each object that is followed in this frame, in the order in which they were added.
    """

    index: int
    time: float
    objects: Mapping[str, TrackedBox] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        objects = {name: found.to_dict() for name, found in self.objects.items()}
        return {"index": self.index, "time": self.time, "objects": objects}


@dataclass(frozen=True)
class TrackQuery:
    """What one prediction is asked for; the fields are the options of `suite tracking predict`.

    Attributes:
        box: first box of each object, `x,y,w,h` in pixels; given once an object.
        first_boxes: a file with the first boxes instead.
        name: of each object, in the order of its boxes; 1, 2, ... where left out.
        start_frame: the frame that the first boxes are of.
        max_frames: at most so many are tracked.
        memory_policy: which earlier frames are templates: segments (as published) or thirds.
        when_lost: of an object that is lost: go_on (as published), freeze, keep_templates, enlarge or hide.
    """

    takes_words: ClassVar[bool] = True
    """`webcam` is an input."""

    box: tuple[str, ...] = ()
    first_boxes: Path | None = None
    name: tuple[str, ...] = ()
    start_frame: int = 0
    max_frames: int | None = None
    memory_policy: MemoryPolicy = "segments"
    when_lost: WhenLost = "go_on"
