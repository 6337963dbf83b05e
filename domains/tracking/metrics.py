"""The benchmarks' figures: one-pass evaluation as the published tools compute it, its plain form, and GOT-10k's.

Boxes are corners (frames, 4), continuous, from 0. A row of the prediction for every row of the truth; of what a tracker
does not report the row is zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

Protocol = Literal["ope", "lasot", "lasot_extension", "uav"]
"""Whose conventions hold for frames without a true box: `ope` those of OTB, NFS, TNL2K, TrackingNet and GOT-10k in
one-pass evaluation, the others each benchmark's own."""

PROTOCOLS: Mapping[str, Protocol] = {
    "lasot": "lasot",
    "vasttrack": "lasot",
    "lasot_extension": "lasot_extension",
    "uav123": "uav",
    "uav20l": "uav",
}
"""By benchmark; `ope` for those that are not named."""

SUCCESS = np.linspace(0, 1, 21)
PRECISION = np.arange(51, dtype=np.float64)
NORMALISED = np.linspace(0, 0.5, 51)
"""Thresholds: of the overlap, of the error of the middle in pixels, and of that error in sizes of the true box."""

_AT = 20
"""The threshold that precision is quoted at: 20 pixels, 0.2 sizes."""


@dataclass(frozen=True)
class Curves:
    """Shares of frames by threshold.

    Attributes:
        success: (21,) of frames whose overlap is above. precision: (51,) whose error is at most.
        normalised: (51,), the same in sizes of the true box.
    """

    success: Array
    precision: Array
    normalised: Array

    @property
    def figures(self) -> dict[str, float]:
        """AUC, precision and normalised precision, and the share of frames above an overlap of 0.5 and 0.75."""
        return {
            "auc": float(self.success.mean()),
            "precision": float(self.precision[_AT]),
            "norm_precision": float(self.normalised[_AT]),
            "op50": float(self.success[10]),
            "op75": float(self.success[15]),
        }


def mean(curves: Sequence[Curves]) -> Curves:
    """Of a data set: the mean over its sequences.

    Raises:
        ValueError: there is none.
    """
    if not curves:
        raise ValueError("no sequence to average")
    return Curves(*(np.mean([getattr(one, name) for one in curves], axis=0) for name in Curves.__annotations__))


def one_pass(predicted: Array, truth: Array, present: Flags | None = None, protocol: Protocol = "ope") -> Curves:
    """One-pass evaluation of a sequence as pytracking, STARK and SPMTrack compute it.

    Overlaps count a box's last pixel in, comparisons with overlaps are strict (a perfect tracker has an AUC of 20/21),
    and frames without a true box stay in the denominator: they count against success and, by the published
    conventions, mostly for precision.

    Args:
        present: (frames,), whether the object is in sight; protocols other than LaSOT's two look at the boxes alone.
    """
    sizes = truth[:, 2:] - truth[:, :2]
    valid = (sizes > 0).all(1)
    seen = np.ones(len(truth), bool) if present is None else present
    if protocol in ("lasot", "lasot_extension"):
        valid &= seen
    overlaps = _inclusive_overlaps(predicted, truth)
    apart = _middles(predicted) - _middles(truth)
    errors = np.hypot(*apart.T)
    normalised = np.hypot(*(apart / np.where(sizes > 0, sizes, 1)).T)
    overlaps[~valid] = -1
    errors[~valid] = -1 if protocol == "uav" else np.inf
    normalised[~valid] = -1
    if protocol == "lasot":
        errors[~seen] = normalised[~seen] = np.inf
    return _curves(overlaps, errors, normalised, strict=True)


def plain(predicted: Array, truth: Array, present: Flags | None = None) -> tuple[Curves, dict[str, float]]:
    """The plain form: continuous boxes, frames without a true box left out, overlaps compared by `>=`.

    Returns:
        The curves, and the mean overlap `ao` with the shares `sr50` and `sr75`.

    Raises:
        ValueError: no frame has a true box.
    """
    valid = ((truth[:, 2:] - truth[:, :2]) > 0).all(1)
    valid &= True if present is None else present
    if not valid.any():
        raise ValueError("no frame has a true box")
    predicted, truth = predicted[valid], truth[valid]
    apart = ((predicted[:, :2] + predicted[:, 2:]) - (truth[:, :2] + truth[:, 2:])) / 2
    shown = ((predicted[:, 2:] - predicted[:, :2]) > 0).all(1)
    overlaps = np.where(shown, overlap(predicted, truth), 0.0)
    errors = np.where(shown, np.hypot(*apart.T), np.inf)
    normalised = np.where(shown, np.hypot(*(apart / (truth[:, 2:] - truth[:, :2])).T), np.inf)
    # No overlap at all is below every threshold, that of 0 too.
    counted = np.where(overlaps > 0, overlaps, -1.0)
    means = {
        "ao": float(overlaps.mean()),
        "sr50": float((overlaps >= 0.5).mean()),
        "sr75": float((overlaps >= 0.75).mean()),
    }
    return _curves(counted, errors, normalised, strict=False), means


def overlap(first: Array, second: Array, bound: tuple[float, float] | None = None) -> Array:
    """Continuous intersection over union of boxes, row by row.

    Args:
        bound: width and height of the frame that both are cut to first.
    """
    if bound is not None:
        first, second = (np.clip(boxes, 0, [*bound, *bound]) for boxes in (first, second))
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    union = (first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - shared
    return np.clip(shared / (union + np.finfo(float).eps), 0, 1)


@dataclass(frozen=True)
class Got10k:
    """GOT-10k's figures of one sequence or of several together.

    Attributes:
        overlaps: (frames,) of the frames that count. times: seconds of each frame that has any.
    """

    overlaps: Array
    times: Array

    @property
    def figures(self) -> dict[str, float]:
        """Mean overlap, shares of frames above 0.5 and 0.75, and frames a second where times are known."""
        found = {
            "ao": float(self.overlaps.mean()),
            "sr50": float((self.overlaps > 0.5).mean()),
            "sr75": float((self.overlaps > 0.75).mean()),
        }
        return found | ({"fps": float((1 / self.times).mean())} if len(self.times) else {})

    @property
    def curve(self) -> Array:
        """(101,): the share of frames whose overlap is above each threshold."""
        return (self.overlaps[:, None] > np.linspace(0, 1, 101)).mean(0)


def got10k(
    predicted: Array,
    truth: Array,
    *,
    bound: tuple[float, float],
    covered: Flags | None = None,
    times: Array | None = None,
) -> Got10k:
    """GOT-10k's figures: without the first frame and those where the object is hidden, boxes cut to the frame.

    Args:
        covered: (frames,), whether the object is hidden as a whole (`cover.label` is 0).
        times: (frames,), seconds; those of 0 are left out.
    """
    overlaps = overlap(predicted[1:], truth[1:], bound)
    kept = np.ones(len(overlaps), bool) if covered is None else ~covered[1:]
    spent = np.zeros(0) if times is None else times[times > 0]
    return Got10k(overlaps[kept], spent)


def pooled(parts: Sequence[Got10k]) -> Got10k:
    """All frames of all sequences together."""
    return Got10k(np.concatenate([one.overlaps for one in parts]), np.concatenate([one.times for one in parts]))


def _inclusive_overlaps(first: Array, second: Array) -> Array:
    """Overlaps of boxes whose last pixel counts: a side is `last - first + 1`, which is the continuous one again."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    union = (first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - shared
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, shared / union, 0.0)


def _middles(boxes: Array) -> Array:
    """(frames, 2), as the tools write it, of boxes whose last pixel counts; between two it is the continuous one."""
    return boxes[:, :2] + 0.5 * (boxes[:, 2:] - boxes[:, :2] - 1)


def _curves(overlaps: Array, errors: Array, normalised: Array, *, strict: bool) -> Curves:
    compared = np.greater if strict else np.greater_equal
    return Curves(
        compared(overlaps[:, None], SUCCESS).mean(0),
        (errors[:, None] <= PRECISION).mean(0),
        (normalised[:, None] <= NORMALISED).mean(0),
    )
