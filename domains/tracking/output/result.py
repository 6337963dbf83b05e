"""What tracking gives of one video: the boxes of its objects in every frame, and the files of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.tracking.output.boxes import Pixels, drawn
from domains.tracking.output.files import About, BoxFiles
from domains.tracking.output.rows import TrackRows
from domains.tracking.types import FrameResult, Status, TrackQuery
from suite.media import plots, sheets

CARD = 320
"""Pixels of a side of a frame on the still picture."""

_POINTS = 2000
"""Of a line of scores in a plot."""


@dataclass(frozen=True)
class TrackResult:
    """The objects of one video.

    Attributes:
        source: the video. error: why there is no result.
        name: of its files. rows: boxes, scores and statuses, frame by frame.
        notices: what was odd.
        speed: frames a second, with and without reading.
        overlaps: mean overlap of each object with its true boxes, the given one left out, where the truth is known.
        stills: a few frames with what was found.
        spool: folder in which files wait that were written while it was tracked.
        stored: what an earlier run said of it, which has written its files.
    """

    source: str
    error: str | None = None
    name: str = ""
    about: About | None = None
    rows: TrackRows = field(default_factory=TrackRows, repr=False)
    notices: tuple[str, ...] = ()
    speed: Mapping[str, float | int] = field(default_factory=dict)
    overlaps: Mapping[str, float] = field(default_factory=dict)
    stills: tuple[tuple[Pixels, FrameResult], ...] = field(default=(), repr=False)
    query: TrackQuery = field(default_factory=TrackQuery, repr=False)
    spool: Path | None = field(default=None, repr=False)
    stored: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def objects(self) -> tuple[str, ...]:
        """Their names, in the order in which they were added."""
        return tuple(self.rows.names)

    def boxes(self, name: str | None = None) -> NDArray[np.float64]:
        """(frames, 4): x, y, w, h of an object, the first where no name is given; NaN where it has no box."""
        return self.rows.numbers(name or self.objects[0])[:, :4]

    def scores(self, name: str | None = None) -> NDArray[np.float64]:
        """(frames,)."""
        return self.rows.numbers(name or self.objects[0])[:, 4]

    def statuses(self, name: str | None = None) -> list[Status | None]:
        """Of each frame."""
        return self.rows.statuses(name or self.objects[0])

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.source}: {self.error}"
        if self.stored is not None:
            return f"{self.source}: tracked before, in {self.stored['frames']} frames"
        count = len(self.objects)
        frames = self.rows.frames
        rate = self.speed.get("fps_tracking", 0) if frames > 1 else 0  # the first frame's boxes are given
        lines = [
            f"{self.source}: {count} object{'s' * (count != 1)} in {frames} frame{'s' * (frames != 1)}"
            + (f", {rate:g} frames a second" if rate else "")
        ]
        for name in self.objects:
            counts = self._counts(name)
            said = ", ".join(f"{counts[status]} {status}" for status in ("uncertain", "lost") if counts[status])
            true = f", mean overlap with the truth {self.overlaps[name]:.3f}" if name in self.overlaps else ""
            lines.append(f"  {name}: mean score {self._mean(name):.2f}{true}" + (f", frames: {said}" if said else ""))
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """What was followed, ready for `json.dumps`; the boxes of all frames are in the files."""
        if self.stored is not None:
            return dict(self.stored)
        return {
            "frames": self.rows.frames,
            "objects": [self._summary(name) for name in self.objects],
            "speed": dict(self.speed),
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write the boxes in the forms that the query asks for, the copies of the video, stills and scores.

        Of a source without an end the boxes of the last frames alone are known, unless it was tracked into a folder.
        """
        home = Path(folder)
        if self.stored is not None:
            return sorted(home.glob(f"{self.name}.*"))
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.name}.", suffix=".part", dir=home) as temporary:
            made = self._moved_files() if self.spool is not None else self._written_files(Path(temporary))
            made += self._pictures(Path(temporary))
            files = [home / path.name for path in made]
            for path, target in zip(made, files, strict=True):
                os.replace(path, target)
        if self.spool is not None:
            shutil.rmtree(self.spool, ignore_errors=True)
        return files

    def _moved_files(self) -> list[Path]:
        assert self.spool is not None
        return sorted(path for path in self.spool.iterdir() if not path.name.startswith("."))

    def _written_files(self, folder: Path) -> list[Path]:
        assert self.about is not None
        files = BoxFiles(folder, self.about, self.query.formats)
        for result in self.rows:
            files.write(result)
        return files.finish(self.notices)

    def _pictures(self, folder: Path) -> list[Path]:
        files = []
        if self.stills:
            files.append(sheets.save_png(still_sheet(self), folder / f"{self.name}.frames.png"))
        if len(self.rows) > 1:
            files.append(plots.save(score_plot(self), folder / f"{self.name}.scores.png"))
        return files

    def _summary(self, name: str) -> dict[str, Any]:
        numbers = self.rows.numbers(name)
        followed = np.flatnonzero(np.isfinite(numbers[:, 4]))
        last = numbers[followed[-1], :4] if len(followed) else np.full(4, np.nan)
        box = [round(float(number), 3) for number in last] if np.isfinite(last).all() else None
        return {
            "id": name,
            "first_frame": int(self.rows.indices[followed[0]]) if len(followed) else None,
            "last_frame": int(self.rows.indices[followed[-1]]) if len(followed) else None,
            "last_box": box,
            "mean_score": round(self._mean(name), 4),
            **({"mean_overlap": round(self.overlaps[name], 4)} if name in self.overlaps else {}),
            **self._counts(name),
        }

    def _counts(self, name: str) -> dict[str, int]:
        statuses = self.statuses(name)
        return {status: statuses.count(status) for status in ("tracked", "uncertain", "lost")}

    def _mean(self, name: str) -> float:
        scores = self.scores(name)
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0


def still_sheet(result: TrackResult) -> Pixels:
    """A few frames with the boxes, their numbers below."""
    places = {name: place for place, name in enumerate(result.objects)}
    cards = []
    for picture, frame in result.stills:
        shown = drawn(picture, frame.objects, places)
        scale = CARD / max(shown.shape[:2])
        cell = np.asarray(sheets.cell(_image(shown), CARD)) if scale < 1 else shown
        cards.append(sheets.caption(cell, f"frame {frame.index}, {frame.time:.1f} s"))
    return sheets.sheet(cards, columns=min(3, len(cards)))


def score_plot(result: TrackResult) -> Any:
    """The score of each object over time."""
    times = result.rows.times
    step = max(1, len(times) // _POINTS)
    series = {
        name: [(float(t), float(s)) for t, s in zip(times[::step], result.scores(name)[::step], strict=True)]
        for name in result.objects[:8]
    }
    return plots.curves(series, title=f"{Path(result.source).name}: score", x="seconds", y="score")


def summary_rows(result: TrackResult) -> list[Mapping[str, Any]]:
    """A row for each object; one for an input that failed."""
    if result.error is not None:
        return [{"source": result.source, "error": result.error}]
    shared = {"source": result.source, "error": ""}
    rows = result.to_dict()["objects"]
    return [{**shared, **{key: value for key, value in row.items() if key != "last_box"}} for row in rows]


def _image(picture: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(picture)
