"""Figures of a detector, frame by frame and video by video, by the rules of the released code and of DeepfakeBench.

Everything is a function of the probability of `manipulated` and the label, in NumPy. A figure that needs both classes
is None, printed as `undefined`, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import wasserstein_distance
from torch import Tensor
from torchmetrics import Metric, MetricCollection

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]

Reduction = Literal["mean", "median"]

UNDEFINED = "undefined"

FPRS = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Roc:
    """The ROC's corners, from (0, 0) to (1, 1); thresholds fall, the first is infinite."""

    fpr: Scores
    tpr: Scores
    thresholds: Scores


def roc(scores: Scores, labels: Labels) -> Roc | None:
    """The ROC with its collinear points left out; None for a single class."""
    counted = _counts(scores, labels)
    if counted is None:
        return None
    true, false, thresholds = counted
    bends = np.r_[True, (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0), True] if len(true) > 2 else slice(None)
    true, false, thresholds = true[bends], false[bends], thresholds[bends]
    return Roc(np.r_[0, false] / false[-1], np.r_[0, true] / true[-1], np.r_[np.inf, thresholds])


def _counts(scores: Scores, labels: Labels) -> tuple[Labels, Labels, Scores] | None:
    """True and false positives at and above each distinct score, falling."""
    positive = np.asarray(labels) == 1
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ordered, positive = np.asarray(scores, dtype=np.float64)[order], positive[order]
    last = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]
    true = np.cumsum(positive)[last]
    return true, 1 + last - true, ordered[last]


def auroc(scores: Scores, labels: Labels) -> float | None:
    """Area under the ROC; equal scores count half."""
    curve = roc(scores, labels)
    return None if curve is None else float(np.trapezoid(curve.tpr, curve.fpr))


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Precision at each distinct score, weighed by the recall that it adds."""
    counted = _counts(scores, labels)
    if counted is None:
        return None
    true, false, _ = counted
    return float(np.sum(np.diff(np.r_[0, true / true[-1]]) * true / (true + false)))


def precision_recall(scores: Scores, labels: Labels) -> tuple[Scores, Scores] | None:
    """Precision and recall at each distinct score, falling; None for a single class."""
    counted = _counts(scores, labels)
    if counted is None:
        return None
    true, false, _ = counted
    return true / (true + false), true / true[-1]


def mean_average_precision(scores: Scores, labels: Labels) -> float | None:
    """The mean of AP(manipulated) and AP(real), the released code's `mAP`."""
    fake = average_precision(scores, labels)
    real = average_precision(1 - np.asarray(scores), 1 - np.asarray(labels))
    return None if fake is None or real is None else (fake + real) / 2


def equal_error_rate(scores: Scores, labels: Labels) -> float | None:
    """Where the ROC, corners joined by lines, meets TPR = 1 - FPR (the released code)."""
    curve = roc(scores, labels)
    if curve is None:
        return None
    above = curve.tpr - (1 - curve.fpr)  # rises from -1 to 1
    first = int(np.argmax(above >= 0))
    span = above[first] - above[first - 1]
    share = -above[first - 1] / span
    return float(curve.fpr[first - 1] + share * (curve.fpr[first] - curve.fpr[first - 1]))


def equal_error_threshold(scores: Scores, labels: Labels) -> float | None:
    """The threshold at the equal error rate as GenD finds it: by root finding, then between corners of equal FPR.

    Where the ROC rises straight up at the rate, any threshold of that rise is as good; the released one depends on
    which side the root finder came from, so its very functions are used. None too where it lies before the first score.
    """
    curve = roc(scores, labels)
    if curve is None:
        return None
    with np.errstate(all="ignore"):
        try:
            rate = brentq(lambda x: 1.0 - x - interp1d(curve.fpr, curve.tpr)(x), 0.0, 1.0)
        except ValueError:
            return None
        threshold = float(interp1d(curve.fpr, curve.thresholds)(rate))
    return threshold if math.isfinite(threshold) else None


def nearest_error_rate(scores: Scores, labels: Labels) -> float | None:
    """The FPR of the corner where FPR and FNR are closest (DeepfakeBench)."""
    curve = roc(scores, labels)
    if curve is None:
        return None
    return float(curve.fpr[np.argmin(np.abs(1 - curve.tpr - curve.fpr))])


def tpr_at(scores: Scores, labels: Labels, fpr: float) -> float | None:
    """The true positive rate at a false positive rate, between corners on a line."""
    curve = roc(scores, labels)
    return None if curve is None else float(np.interp(fpr, curve.fpr, curve.tpr))


def confusion(scores: Scores, labels: Labels, threshold: float | None = None) -> Labels:
    """(2, 2) counts, true label by called label.

    Args:
        threshold: at or above it a score is called manipulated; by default the likelier class, real where equal.
    """
    scores = np.asarray(scores)
    called = scores > 0.5 if threshold is None else scores >= threshold
    table = np.zeros((2, 2), dtype=np.int64)
    np.add.at(table, (np.asarray(labels), called.astype(np.int64)), 1)
    return table


def separation(scores: Scores, labels: Labels) -> dict[str, float | None]:
    """Wasserstein distances of GenD: between the classes' scores, and of each class between p(fake) and p(real)."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    real, fake = scores[labels == 0], scores[labels == 1]
    if not len(real) or not len(fake):
        return dict.fromkeys(("w1_separation", "w1_confidence_real", "w1_confidence_fake"))
    return {
        "w1_separation": float(wasserstein_distance(real, fake)),
        "w1_confidence_real": float(wasserstein_distance(1 - real, real)),
        "w1_confidence_fake": float(wasserstein_distance(1 - fake, fake)),
    }


def cross_entropy(scores: Scores, labels: Labels) -> float:
    """Mean negative logarithm of the probability that scores give the labels; steadier than the calibration error."""
    scores, manipulated = np.asarray(scores, dtype=np.float64), np.asarray(labels) == 1
    return float(-np.log(np.clip(np.where(manipulated, scores, 1 - scores), 1e-12, 1)).mean())


def expected_calibration_error(scores: Scores, labels: Labels, bins: int = 15) -> float:
    """Mean distance of a score from the share of manipulated at that score, in equal bins (Guo et al. 2017)."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = [abs(float(np.sum(scores[place == b] - labels[place == b]))) for b in range(bins)]
    return math.fsum(gaps) / len(scores)


def figures(scores: Scores, labels: Labels, threshold: float | None = None) -> dict[str, float | None]:
    """All figures of one level.

    Args:
        scores: (n,) probability of manipulated. labels: (n,).
        threshold: of the decision, as in `confusion`.
    """
    table = confusion(scores, labels, threshold)
    totals, called = table.sum(1), table.sum(0)
    present = totals > 0
    recalls = np.diag(table)[present] / totals[present]
    # Of classes that are there or were called, as scikit-learn's macro F1.
    known = (totals + called) > 0
    f1 = 2 * np.diag(table)[known] / (totals + called)[known]
    single = not present.all()
    return {
        "auroc": auroc(scores, labels),
        "map": mean_average_precision(scores, labels),
        "ap_fake": average_precision(scores, labels),
        "eer": equal_error_rate(scores, labels),
        "eer_threshold": equal_error_threshold(scores, labels),
        **{f"tpr_at_fpr_{round(100 * fpr)}": tpr_at(scores, labels, fpr) for fpr in FPRS},
        "accuracy": float(np.diag(table).sum() / table.sum()),
        "balanced_accuracy": None if single else float(recalls.mean()),
        "macro_f1": None if single else float(f1.mean()),
        "ece": expected_calibration_error(scores, labels),
        **separation(scores, labels),
    }


def video_of(path: str) -> str:
    """The video of a frame: the whole path before its name."""
    return path.replace("\\", "/").rpartition("/")[0]


def by_video(
    paths: Sequence[str], scores: Scores, labels: Labels, *, bare: bool = False, reduce: Reduction = "mean"
) -> tuple[list[str], Scores, Labels]:
    """Videos in the order of their first frames, the mean of their frames' scores, and their labels.

    Args:
        paths: of the frames. A video is the whole path before the frame's name, so that equal names in two sources
            stay two videos.
        bare: go by the bare name of the folder, as DeepfakeBench does: such videos then mix.
        reduce: of the frames' scores their mean, or, as GenD offers, their median.
    """
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        folder = video_of(path)
        rows.setdefault(folder.rpartition("/")[2] if bare else folder, []).append(row)
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if bare:
        # Added one after the other as there: with another rounding, equal videos would be a hair apart.
        means = np.array([sum(scores[own].tolist()) / len(own) for own in rows.values()])
        return list(rows), means, np.array([int(labels[own].sum() / len(own)) for own in rows.values()], dtype=np.int64)
    if reduce == "median":
        means = np.array([float(np.median(scores[own])) for own in rows.values()])
    else:
        # fsum: the mean does not depend on the order of the frames.
        means = np.array([math.fsum(scores[own]) / len(own) for own in rows.values()])
    return list(rows), means, np.array([int(labels[own[0]]) for own in rows.values()], dtype=np.int64)


def deepfakebench(paths: Sequence[str], scores: Scores, labels: Labels) -> dict[str, float | None]:
    """DeepfakeBench's figures: its own equal error rate, and videos grouped by the bare names of their folders."""
    _, means, video_labels = by_video(paths, scores, labels, bare=True)
    return {
        "acc": float(np.mean((np.asarray(scores) > 0.5) == (np.asarray(labels) == 1))),
        "auc": auroc(scores, labels),
        "eer": nearest_error_rate(scores, labels),
        "ap": average_precision(scores, labels),
        "video_auc": auroc(means, video_labels),
        "video_eer": nearest_error_rate(means, video_labels),
    }


def report(
    paths: Sequence[str],
    scores: Scores,
    labels: Labels,
    threshold: float | None = None,
    reduce: Reduction = "mean",
) -> dict[str, dict[str, float | None]]:
    """The figures of frames, of videos, and by DeepfakeBench's rules."""
    _, means, video_labels = by_video(paths, scores, labels, reduce=reduce)
    return {
        "frame": figures(scores, labels, threshold),
        "video": figures(means, video_labels, threshold),
        "deepfakebench": deepfakebench(paths, scores, labels),
    }


def shown(value: Any) -> str:
    """A figure for people."""
    return UNDEFINED if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


class DetectionFigure(Metric):
    """One figure of all samples of a validation, each counted once.

    Samplers that pad the last batches of several devices give samples twice: they are told by their numbers.

    Args:
        name: of `figures`. level: frames or videos.
    """

    full_state_update = False
    number: list[Tensor]
    score: list[Tensor]
    label: list[Tensor]
    video: list[Tensor]

    def __init__(self, name: str, level: Literal["frame", "video"]) -> None:
        super().__init__()
        self.name, self.level = name, level
        for state in ("number", "score", "label", "video"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, score: Tensor, label: Tensor, number: Tensor, video: Tensor) -> None:
        """Take samples in: each (batch,); `video` numbers the video that a sample is of."""
        for state, values in (("number", number), ("score", score), ("label", label), ("video", video)):
            getattr(self, state).append(values.detach())

    def compute(self) -> Tensor:
        number, score, label, video = (
            torch.cat(list(getattr(self, state))) if isinstance(getattr(self, state), list) else getattr(self, state)
            for state in ("number", "score", "label", "video")
        )
        _, first = np.unique(number.cpu().numpy(), return_index=True)
        scores, labels = score.double().cpu().numpy()[first], label.cpu().numpy()[first]
        if self.level == "video":
            _, scores, labels = by_video([f"{one}/" for one in video.cpu().numpy()[first]], scores, labels)
        value = figures(scores, labels)[self.name]
        return torch.tensor(float("nan") if value is None else value, device=score.device)


def collection() -> MetricCollection:
    """What a validation logs: `val/auroc_video`, `val/map_video` and so on."""
    levels: tuple[Literal["frame", "video"], ...] = ("frame", "video")
    names = ("auroc", "map", "eer", "accuracy", "balanced_accuracy", "macro_f1")
    return MetricCollection({f"{name}_{level}": DetectionFigure(name, level) for name in names for level in levels})


def rounded(values: Mapping[str, float | None], digits: int = 6) -> dict[str, float | str]:
    """Ready for JSON and tables: undefined ones by that word."""
    return {name: UNDEFINED if value is None else round(value, digits) for name, value in values.items()}
