"""From a vector to hits: the nearest rows, by video or by segment, filtered, with their seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from domains.text_video_retrieval.inference.indexing import file_of
from domains.text_video_retrieval.inference.nearest import Kind, Nearest
from domains.text_video_retrieval.output.page import Hit
from suite.errors import InputError

if TYPE_CHECKING:
    from domains.text_video_retrieval.inference.store import SegmentRow, Store, VideoRow

By = Literal["best", "top3"]
Per = Literal["video", "segment"]
SNIPPET = 3.0
"""Seconds before and after the nearest frame that are shown."""
ROWS_A_VIDEO = 8
"""Rows that are fetched for each video that is wanted, since several may be of one."""
SCALE = 100.0
"""Of the softmax over what is found, CLIP's own."""


@dataclass(frozen=True)
class Filter:
    """Which videos are looked through.

    Attributes:
        path: a pattern of paths, e.g. `2024/*.mp4`. longer, shorter: seconds that a video lasts.
        after, before: dates, e.g. 2024-05-31, between which its file was last written.
        threshold: cosine below which nothing is shown.
    """

    path: str | None = None
    longer: float | None = None
    shorter: float | None = None
    after: str | None = None
    before: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        after, before = _date("after", self.after), _date("before", self.before)
        if after is not None and before is not None and after >= before:
            raise InputError(f"after is {self.after} and before {self.before}: no video can be written between them")
        if self.longer is not None and self.shorter is not None and self.longer > self.shorter:
            raise InputError(f"longer is {self.longer} s and shorter {self.shorter} s: no video can be both")

    def rows(self, store: Store) -> NDArray[np.int64] | None:
        """The live rows of the videos that it lets through; None is all."""
        if self.path is None and all(each is None for each in (self.longer, self.shorter, self.after, self.before)):
            return None
        let = {video.id for video in store.videos().values() if self._lets(video)}
        return np.array([row for row, one in store.segments().items() if one.video in let], dtype=np.int64)

    def _lets(self, video: VideoRow) -> bool:
        after, before = _date("after", self.after), _date("before", self.before)
        written = video.mtime_ns / 1e9
        return (
            (self.path is None or fnmatch(video.path, self.path))
            and (self.longer is None or video.duration >= self.longer)
            and (self.shorter is None or video.duration <= self.shorter)
            and (after is None or written >= after)
            and (before is None or written < before)
        )


def _date(name: str, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).timestamp()
    except ValueError:
        raise InputError(f"{name} is {given!r}; give a date, e.g. 2024-05-31") from None


ALL = Filter()


def find(
    store: Store,
    vector: NDArray[np.float32],
    top: int = 10,
    *,
    by: By = "best",
    per: Per = "video",
    nearest: Kind | Nearest = "auto",
    root: Path | None = None,
    only: Filter = ALL,
) -> list[Hit]:
    """The nearest videos or segments, the nearest first.

    Args:
        vector: (dim,) of length 1. top: hits.
        by: what a video scores. per: hits are videos, or segments, those that overlap a nearer one left to it.
        nearest: how to look, or what was built for it. root: where the videos lie now, if they were moved.
        only: which videos.
    """
    chosen = only.rows(store)
    if chosen is not None or not isinstance(nearest, Nearest):
        if not len(store.live() if chosen is None else chosen):
            return []
        nearest = Nearest.of(store, "exact" if isinstance(nearest, Nearest) else nearest, chosen)
    count = top * ROWS_A_VIDEO
    while True:
        scores, places = nearest.search(vector[None], count)
        found = {int(row): float(score) for row, score in zip(places[0], scores[0], strict=True) if row >= 0}
        segments = store.segments(list(found))
        ranked = _by_video(found, segments, by) if per == "video" else _by_segment(found, segments)
        if len(ranked) >= top or count >= len(nearest.rows):
            break
        count *= 4
    least = only.threshold if only.threshold is not None else -2.0
    ranked = [one for one in ranked[:top] if one.score >= least]
    if not ranked:
        return []
    shares = np.exp(SCALE * (np.array([one.score for one in ranked]) - ranked[0].score))
    names = {video.id: video for video in store.videos().values()}
    return [
        _hit(store, one, names[one.best.video], share, vector, root)
        for one, share in zip(ranked, (shares / shares.sum()).tolist(), strict=True)
    ]


@dataclass
class Ranked:
    """What becomes a hit: its nearest segment, its score, and the seconds that it covers."""

    best: SegmentRow
    score: float
    start: float
    end: float


def _by_video(found: dict[int, float], segments: dict[int, SegmentRow], by: By) -> list[Ranked]:
    own: dict[int, list[int]] = {}
    for row in found:  # in falling order of score
        own.setdefault(segments[row].video, []).append(row)
    ranked = []
    for rows in own.values():
        counted = rows[:3] if by == "top3" else rows[:1]
        best = segments[rows[0]]
        ranked.append(Ranked(best, sum(found[row] for row in counted) / len(counted), best.start, best.end))
    return sorted(ranked, key=lambda each: -each.score)


def _by_segment(found: dict[int, float], segments: dict[int, SegmentRow]) -> list[Ranked]:
    """Every segment; one that overlaps a nearer one of its video is merged into it."""
    ranked: list[Ranked] = []
    for row, score in found.items():
        one = segments[row]
        over = next((each for each in ranked if each.best.video == one.video and _overlap(each.best, one)), None)
        if over is None:
            ranked.append(Ranked(one, score, one.start, one.end))
        else:
            over.start, over.end = min(over.start, one.start), max(over.end, one.end)
    return ranked


def _overlap(one: SegmentRow, other: SegmentRow) -> bool:
    return min(one.end, other.end) - max(one.start, other.start) > 1e-3


def _hit(
    store: Store, ranked: Ranked, video: VideoRow, share: float, vector: NDArray[np.float32], root: Path | None
) -> Hit:
    row = ranked.best.row
    frames = store.frames()[row].astype("float32")  # (N, dim)
    moment = ranked.best.times[int((frames @ vector).argmax())]
    return Hit(
        path=video.path,
        file=file_of(store, video.path, root),
        score=ranked.score,
        share=share,
        start=ranked.start,
        end=ranked.end,
        moment=moment,
        snippet=(max(0.0, moment - SNIPPET), min(video.duration or ranked.end, moment + SNIPPET)),
        thumbnail=store.thumbnail(row),
        row=row,
        status=video.status,
    )
