"""What a prediction is asked for and the values that users see. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from suite.domain import Alias, Whole
from suite.errors import InputError
from suite.prediction.options import normalise

Box: TypeAlias = tuple[float, float, float, float]
"""(x, y, w, h) in pixels of the frame; x, y is the top left corner, 0-based and continuous: the box ends at x + w."""

Status = Literal["tracked", "uncertain", "lost"]
"""Of an object in one frame, by its score with hysteresis."""

MemoryPolicy = Literal["segments", "thirds"]
"""Which earlier frames are the templates of a frame."""

WhenLost = Literal["go_on", "freeze", "keep_templates", "enlarge", "hide"]
"""What happens to a lost object: nothing (as published), its last box stays, its templates stay, it is searched in a
larger region, or it has no box."""

FileForm = Literal["txt", "json", "csv", "mot", "coco"]
"""Of the boxes: x,y,w,h lines an object, JSON, CSV, MOTChallenge's lines, COCO's JSON of a video."""

OnDamage = Literal["stop", "hold"]
"""Of a frame that cannot be read: stop there, or hold every object's last box."""

KEPT = 20_000
"""Frames of a source without an end whose boxes stay in memory; files have all of them."""


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
        box: first box of each object, `x,y,w,h` in pixels from the top left corner; once an object.
        box_xyxy: the same as `left,top,right,bottom`.
        optional_box: one first box as four words, x y w h, as pytracking's run_video takes it.
        first_boxes: a file with the first boxes: x,y,w,h a line, MOT's lines, COCO's JSON, or JSON of names and boxes,
            with frames where an object is pointed at anew.
        select: draw the first box with the mouse.
        name: of each object, in the order of its boxes; 1, 2, ... where left out.
        sequence: of a folder of a benchmark, the sequence of this name.
        start_frame: the frame that the first boxes are of, from 0.
        max_frames: at most so many are tracked.
        stride: every so many-th frame is tracked.
        fps: of frames in a folder; what a video says where left out.
        memory_policy: which earlier frames are templates: segments or thirds; the adapter's own where left out.
        when_lost: of an object that is lost: go_on (as published), freeze, keep_templates, enlarge or hide.
        uncertain_below: score under which an object is uncertain; calibrated on nothing.
        lost_below: score under which it is lost; calibrated on nothing.
        status_frames: frames in turn after which a status changes.
        batch_size: objects of a frame that the model looks at side by side.
        most_templates: kept of an object at most (115 kB each at 196 pixels); beyond, every second frame's, then every
            fourth's.
        on_damage: of a frame that cannot be read: stop there, or hold the last boxes.
        newest: of a live source, skip to the newest frame where tracking is slower than it.
        formats: files of the boxes: txt, json, csv, mot, coco.
        annotate: write a copy of the video with the boxes drawn on.
        panels: write a second copy with what the tracker looked at beside it.
        integers: whole numbers in the txt files, with tabs, as pytracking's run_video saves them.
        mjpeg: show the frames live at this port of this machine, for a browser.
        exported: a folder that `suite tracking export` wrote, to track with instead of an adapter.
    """

    takes_words: ClassVar[bool] = True
    """`webcam` is an input."""

    takes_streams: ClassVar[bool] = True
    """So are the addresses of cameras and streams."""

    takes_patterns: ClassVar[bool] = True
    """And patterns of frames, in quotes."""

    resumes: ClassVar[bool] = True

    loading: ClassVar[tuple[str, ...]] = ("exported",)

    box: tuple[Whole, ...] = ()
    box_xyxy: tuple[Whole, ...] = ()
    optional_box: tuple[float, float, float, float] | None = None
    first_boxes: Annotated[Path | None, Alias("txt_path")] = None
    select: bool = False
    name: tuple[str, ...] = ()
    sequence: str | None = None
    start_frame: int = 0
    max_frames: int | None = None
    stride: int = 1
    fps: float | None = None
    memory_policy: MemoryPolicy | None = None
    when_lost: WhenLost = "go_on"
    uncertain_below: float = 0.5
    lost_below: float = 0.25
    status_frames: int = 3
    batch_size: int = 16
    most_templates: int = 1000
    on_damage: OnDamage = "stop"
    newest: bool = False
    formats: tuple[FileForm, ...] = ("txt", "json", "mot")
    annotate: bool = True
    panels: bool = False
    integers: Annotated[bool, Alias("save_results")] = False
    mjpeg: int | None = None
    exported: Path | None = None

    def __post_init__(self) -> None:
        for name in ("box", "box_xyxy"):
            object.__setattr__(self, name, _written(getattr(self, name)))
        counts = {"max_frames": 1, "stride": 1, "status_frames": 1, "batch_size": 1, "most_templates": 4}
        normalise(self, {"start_frame": 0, **counts})
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps is {self.fps}; give frames a second, above 0")
        if unknown := set(self.formats) - set(get_args(FileForm)):
            raise InputError(f"formats names {sorted(unknown)[0]!r}; choose of {', '.join(get_args(FileForm))}")
        if not 0 <= self.lost_below <= self.uncertain_below <= 1:
            raise InputError(
                f"lost_below is {self.lost_below} and uncertain_below {self.uncertain_below}; give scores from 0 to 1, "
                "the first the lower"
            )
        if self.mjpeg is not None and not 0 <= self.mjpeg <= 65535:
            raise InputError(f"mjpeg is {self.mjpeg}; give a port from 1 to 65535, or 0 for any that is free")
        ways = (self.box, self.box_xyxy, self.optional_box, self.first_boxes, self.select)
        if sum(map(bool, ways)) > 1:
            raise InputError(
                "first boxes are given in two ways; give one of --box, --box-xyxy, --first-boxes, --select"
            )


def _written(boxes: Any) -> Any:
    """Boxes of Python, four numbers or several times four, as they are written at the prompt."""
    if isinstance(boxes, str):
        return (boxes,)
    if len(boxes) and all(isinstance(one, int | float) for one in boxes):
        boxes = (boxes,)
    return tuple(one if isinstance(one, str) else ",".join(map(str, one)) for one in boxes)
