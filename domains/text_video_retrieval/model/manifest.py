"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from domains.text_video_retrieval.model.schedule import Schedule
from suite.errors import InputError
from suite.files import check_kinds
from suite.manifest import read_manifest

_KINDS: Mapping[str, tuple[Any, str]] = {
    "frames": (int, "a whole number"),
    "words": (int, "a whole number"),
    "fps": (float | int, "a number"),
    "schedule": (dict, "an object"),
    "data": (str, "a name"),
    "selected_on": (str, "a name"),
    "reached": (dict, "an object"),
    "pictures": (dict, "an object"),
}


@dataclass(frozen=True)
class Stated:
    """How an adapter's model is built, and how its videos and sentences are prepared.

    Attributes:
        frames: of a video. words: tokens of a sentence, start and end counted. fps: frames a second that are
            candidates. schedule: of merging.
        data: what it was trained on. selected_on: the split that chose the weights. reached: what it reached there.
        pictures: how a picture becomes the model's square, as `suite.clip.pictures.Preprocessing` has it.
    """

    frames: int = 12
    words: int = 32
    fps: float = 1.0
    schedule: Schedule = field(default_factory=Schedule)
    data: str = ""
    selected_on: str = ""
    reached: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {
            "frames": self.frames,
            "words": self.words,
            "fps": self.fps,
            "schedule": self.schedule.to_dict(),
            "data": self.data,
            "selected_on": self.selected_on,
            **({"reached": dict(self.reached)} if self.reached else {}),
            **({"pictures": dict(self.pictures)} if self.pictures else {}),
        }

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path) -> Self:
        """From the section of an adapter's manifest.

        Raises:
            InputError: it is of another domain, or something else stands where a number or an object belongs.
        """
        if "frames" not in section or "schedule" not in section:
            raise InputError(f"{where}: the adapter states no frames and no schedule; it is none for videos")
        check_kinds(section, _KINDS, str(where))
        return cls(
            frames=section["frames"],
            words=section.get("words", 32),
            fps=float(section.get("fps", 1.0)),
            schedule=Schedule.of(section["schedule"]),
            data=section.get("data", ""),
            selected_on=section.get("selected_on", ""),
            reached=section.get("reached", {}),
            pictures=section.get("pictures", {}),
        )

    def on(self, frames: int | None, *, interpolate: bool = False) -> Self:
        """The same on as many frames; None leaves them as they are.

        Args:
            interpolate: the adapter's temporal positions to that number.

        Raises:
            InputError: the temporal positions are of another number, and may not be interpolated.
        """
        if frames is None or frames == self.frames:
            return self
        if frames < 1:
            raise InputError(f"frames is {frames}; give at least 1")
        if self.schedule.frame_pos and self.schedule.merge_layer and not interpolate:
            raise InputError(
                f"frames is {frames}, and the adapter's temporal positions are of {self.frames} frames; leave it at "
                f"{self.frames}, interpolate them (--interpolate), or train with {frames}"
            )
        return replace(self, frames=frames)


def check_merge(adapter: Path) -> None:
    """Refuse an adapter whose schedule and temporal positions a CLIP in an ordinary folder has no place for.

    Raises:
        InputError: it merges tokens.
    """
    schedule = Stated.from_dict(read_manifest(adapter)["domain"], adapter).schedule
    if schedule.merge_layer or schedule.tome_r:
        raise InputError(
            f"{adapter}: cannot be merged into an ordinary CLIP, which has no place for temporal positions and "
            "merges no token; suite text_video_retrieval export writes both towers with the adapter folded in"
        )
