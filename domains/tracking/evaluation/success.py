"""From what trackers gave to their figures: of each sequence, of the data set, and of each attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.tracking import metrics
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet
from domains.tracking.metrics import Curves, Got10k
from domains.tracking.output.submissions import Tracked
from suite.errors import InputError


@dataclass(frozen=True)
class ScoredTracker:
    """One tracker on one data set.

    Attributes:
        curves: of each sequence by name. got10k: the same by GOT-10k's rule.
        times: seconds of each tracked frame, the first of each sequence left out.
    """

    tracker: str
    curves: Mapping[str, Curves]
    got10k: Mapping[str, Got10k]
    times: np.ndarray

    @property
    def mean(self) -> Curves:
        return metrics.mean(list(self.curves.values()))

    def figures(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """Of these sequences, or of all."""
        chosen = list(self.curves) if names is None else list(names)
        one_pass = metrics.mean([self.curves[name] for name in chosen]).figures
        return one_pass | metrics.pooled([self.got10k[name] for name in chosen]).figures

    @property
    def fps(self) -> float | None:
        """Frames a second of the tracker alone."""
        return float(len(self.times) / self.times.sum()) if self.times.sum() > 0 else None


def score(tracker: str, found: SequenceSet, all_tracked: Sequence[Tracked]) -> ScoredTracker:
    """The figures of a tracker; frames before an object is in sight do not count.

    Raises:
        InputError: a result has another number of frames than its sequence, or nothing is annotated.
    """
    by_name = {tracked.sequence: tracked for tracked in all_tracked}
    protocol = metrics.PROTOCOLS.get(found.benchmark, "ope")
    curves: dict[str, Curves] = {}
    got10k: dict[str, Got10k] = {}
    for sequence in found.sequences:
        if not sequence.track.annotated:
            continue
        tracked = by_name[sequence.name]
        truth, present, covered = _truth(sequence, tracked)
        curves[sequence.name] = metrics.one_pass(tracked.boxes, truth, present, protocol)
        width, height = sequence.frames.size
        got10k[sequence.name] = metrics.got10k(
            tracked.boxes, truth, bound=(width, height), covered=covered, times=tracked.times
        )
    if not curves:
        raise InputError(
            f"{found.name}: only first boxes are public, so that figures come from the benchmark's server; "
            "make its archive with --archive"
        )
    times = np.concatenate([tracked.times[1:] for tracked in all_tracked])
    return ScoredTracker(tracker, curves, got10k, times)


def _truth(sequence: AnnotatedSequence, tracked: Tracked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, presence and cover from the first frame on, of as many frames as were tracked."""
    track = sequence.track
    first, count = track.first, len(tracked.boxes)
    if count > len(track.boxes) - first:
        raise InputError(
            f"{tracked.sequence}: {count} boxes for {len(track.boxes) - first} frames; "
            "is it the result of another data set?"
        )
    rows = slice(first, first + count)
    boxes = np.nan_to_num(track.boxes[rows])
    covered = ~track.present[rows] if track.covered is None else track.covered[rows]
    return boxes, track.present[rows], covered


def sequence_rows(scored: Sequence[ScoredTracker]) -> list[dict[str, Any]]:
    """A row for each sequence, a column for each tracker's AUC and AO."""
    rows = []
    for name in scored[0].curves:
        row: dict[str, Any] = {"sequence": name}
        for one in scored:
            row[f"{one.tracker} AUC"] = round(one.curves[name].figures["auc"], 4)
            overlaps = one.got10k[name].overlaps
            row[f"{one.tracker} AO"] = round(float(overlaps.mean()), 4) if len(overlaps) else None
        rows.append(row)
    return rows


def attribute_rows(scored: Sequence[ScoredTracker], found: SequenceSet) -> list[dict[str, Any]]:
    """The AUC of each tracker over the sequences that have an attribute; empty where none has any."""
    having: dict[str, list[str]] = {}
    for sequence in found.sequences:
        for attribute in sequence.attributes if sequence.name in scored[0].curves else ():
            having.setdefault(attribute, []).append(sequence.name)
    return [
        {"attribute": attribute, "sequences": len(names)}
        | {one.tracker: round(metrics.mean([one.curves[name] for name in names]).figures["auc"], 4) for one in scored}
        for attribute, names in sorted(having.items())
    ]


SHOWN = {
    "auc": "AUC",
    "precision": "P",
    "norm_precision": "Pnorm",
    "op50": "OP50",
    "op75": "OP75",
    "ao": "AO",
    "sr50": "SR50",
    "sr75": "SR75",
}


def tracker_rows(scored: Sequence[ScoredTracker]) -> list[dict[str, Any]]:
    """A row for each tracker, the best AUC first."""
    rows = []
    for one in sorted(scored, key=lambda one: -one.mean.figures["auc"]):
        figures = one.figures()
        row: dict[str, Any] = {"tracker": one.tracker, "sequences": len(one.curves)}
        row |= {title: round(figures[name], 4) for name, title in SHOWN.items()}
        rows.append(row | {"fps": None if one.fps is None else round(one.fps, 1)})
    return rows
