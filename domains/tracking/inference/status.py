"""Whether an object is tracked, uncertain or lost, by its scores over time."""

from __future__ import annotations

from dataclasses import dataclass

from domains.tracking.types import Status
from suite.errors import InputError


@dataclass(frozen=True)
class StatusRule:
    """Two thresholds and how long it takes; the thresholds are calibrated on nothing.

    A score from `uncertain_below` on, `frames` times in turn, makes an object tracked; `frames` times in turn below it
    make it uncertain, and below `lost_below` lost. Once lost it stays so until it is tracked again.
    """

    uncertain_below: float = 0.5
    lost_below: float = 0.25
    frames: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.lost_below <= self.uncertain_below <= 1:
            raise InputError(
                f"lost_below {self.lost_below} and uncertain_below {self.uncertain_below}: give 0 <= lost_below <= "
                "uncertain_below <= 1"
            )
        if self.frames < 1:
            raise InputError(f"status_frames is {self.frames}; give at least 1")


@dataclass
class StatusCounter:
    """The status of one object.

    Attributes:
        weak, low, strong: frames in turn below each threshold, and from the upper one on.
    """

    status: Status = "tracked"
    weak: int = 0
    low: int = 0
    strong: int = 0

    def take(self, score: float, rule: StatusRule) -> Status:
        """The status after a frame with this score; what is no number is lost at once."""
        if score != score:
            self.status, self.strong, self.weak, self.low = "lost", 0, rule.frames, rule.frames
            return self.status
        certain = score >= rule.uncertain_below
        self.strong = self.strong + 1 if certain else 0
        self.weak = 0 if certain else self.weak + 1
        self.low = self.low + 1 if score < rule.lost_below else 0
        if self.strong >= rule.frames:
            self.status = "tracked"
        elif self.low >= rule.frames:
            self.status = "lost"
        elif self.weak >= rule.frames and self.status == "tracked":
            self.status = "uncertain"
        return self.status
