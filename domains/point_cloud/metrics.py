"""The benchmarks' exact metrics for classification, part segmentation and scene segmentation.

Instance and class mIoU are often confused: part segmentation always reports both, by these names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from domains.point_cloud.data.datasets.cloud_set import NO_PART
from domains.point_cloud.data.datasets.shapenetpart import PARTS
from suite.errors import InputError


@dataclass(frozen=True)
class ClassificationScores:
    """Overall accuracy, its mean over the classes that occur, and the confusion matrix (target, prediction)."""

    overall: float
    mean_class: float
    confusion: Tensor


def classification(prediction: Tensor, target: Tensor, classes: int) -> ClassificationScores:
    """Score labels (S,) against targets (S,); the average is over samples, never over batches."""
    confusion = confusion_matrix(prediction, target, classes)
    present = confusion.sum(1) > 0
    per_class = confusion.diagonal()[present] / confusion.sum(1)[present]
    overall = confusion.diagonal().sum() / confusion.sum().clamp(min=1)
    return ClassificationScores(float(overall), float(per_class.mean()) if present.any() else 0.0, confusion)


def confusion_matrix(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes), int64 as float64: rows are targets, columns predictions.

    Raises:
        InputError: a label is outside the classes.
    """
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.numel() and (labels.min() < 0 or labels.max() >= classes):
            raise InputError(
                f"{name} holds label {int(labels.max())}, and there are {classes} classes; check the labels"
            )
    index = target.flatten().long() * classes + prediction.flatten().long()
    return torch.bincount(index, minlength=classes * classes).view(classes, classes).double()


def vote(logits: Tensor) -> Tensor:
    """Labels (S,) from logits of several augmented passes (passes, S, classes): the mean of the logits decides."""
    return logits.mean(0).argmax(-1)


@dataclass(frozen=True)
class PartScores:
    """Part segmentation (ShapeNetPart's protocol).

    Attributes:
        accuracy: share of points labelled right. class_accuracy: its mean over the parts that occur.
        instance_miou: mean over shapes. class_miou: mean over the categories present.
        categories: mean IoU of each category present.
    """

    accuracy: float
    class_accuracy: float
    instance_miou: float
    class_miou: float
    categories: dict[str, float]


def restrict(logits: Tensor, parts: Sequence[int]) -> Tensor:
    """Labels (..., N) from logits (..., N, P), chosen among the parts of one category."""
    allowed = torch.as_tensor(list(parts), device=logits.device)
    return allowed[logits[..., allowed].argmax(-1)]


def shape_iou(prediction: Tensor, target: Tensor, parts: Sequence[int]) -> float:
    """Mean IoU of one shape over its category's parts; a part absent from both counts as 1."""
    scores = []
    for part in parts:
        predicted, wanted = prediction == part, target == part
        union = (predicted | wanted).sum()
        scores.append(1.0 if union == 0 else float((predicted & wanted).sum() / union))
    return sum(scores) / len(scores)


def part_segmentation(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    categories: Sequence[str],
    parts: dict[str, tuple[int, ...]] | None = None,
) -> PartScores:
    """Score shapes: labels (N,) each, targets (N,) each, and the category of each shape.

    Raises:
        InputError: a category is unknown.
    """
    parts = PARTS if parts is None else parts
    for name in categories:
        if name not in parts:
            raise InputError(f"unknown category {name!r}; choose from {', '.join(parts)}")
    by_category: dict[str, list[float]] = {}
    for prediction, target, name in zip(predictions, targets, categories, strict=True):
        by_category.setdefault(name, []).append(shape_iou(prediction, target, parts[name]))
    total = 1 + max(part for ids in parts.values() for part in ids)
    points = classification(
        torch.cat([p.flatten() for p in predictions]), torch.cat([t.flatten() for t in targets]), total
    )
    shapes = [score for scores in by_category.values() for score in scores]
    means = {name: sum(by_category[name]) / len(by_category[name]) for name in parts if name in by_category}
    return PartScores(
        points.overall, points.mean_class, sum(shapes) / len(shapes), sum(means.values()) / len(means), means
    )


@dataclass(frozen=True)
class SceneScores:
    """Semantic segmentation from ONE confusion matrix over the whole test set."""

    overall: float
    mean_class: float
    miou: float
    iou: Tensor


def scene_segmentation(confusion: Tensor) -> SceneScores:
    """mIoU, mean accuracy and overall accuracy; classes absent from targets and predictions do not count."""
    hits, wanted, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    union = wanted + predicted - hits
    iou = torch.where(union > 0, hits / union.clamp(min=1), torch.full_like(hits, math.nan))
    present = wanted > 0
    return SceneScores(
        float(hits.sum() / confusion.sum()), float((hits[present] / wanted[present]).mean()), float(iou.nanmean()), iou
    )


class PartIoU(Metric):
    """Mean IoU of shapes, each labelled among the parts of its own category.

    Args:
        parts: how many parts each category has; ids count through the categories in this order.
        over: `instances` is the mean over shapes, `classes` the mean over the categories that occur.
    """

    higher_is_better = True
    full_state_update = False

    def __init__(self, parts: Mapping[str, int], over: Literal["instances", "classes"]) -> None:
        super().__init__()
        self.ids: list[range] = []
        for count in parts.values():
            start = self.ids[-1].stop if self.ids else 0
            self.ids.append(range(start, start + count))
        self.over = over
        self.add_state("total", torch.zeros(len(parts), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(parts), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor, category: Tensor) -> None:
        """Scores (B, N, parts), true parts (B, N) or `NO_PART`, categories (B,)."""
        for own, wanted, number in zip(scores, target, category.tolist(), strict=True):
            known = wanted != NO_PART
            self.total[number] += shape_iou(restrict(own[known], self.ids[number]), wanted[known], self.ids[number])
            self.count[number] += 1

    def compute(self) -> Tensor:
        if self.over == "instances":
            return (self.total.sum() / self.count.sum().clamp(min=1)).float()
        present = self.count > 0
        return (self.total[present] / self.count[present]).mean().float()
