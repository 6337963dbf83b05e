"""The benchmarks' exact metrics for classification, part segmentation and scene segmentation.

Instance and class mIoU are often confused: part segmentation always reports both, by these names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.errors import InputError

PARTS: dict[str, tuple[int, ...]] = {
    "Airplane": (0, 1, 2, 3),
    "Bag": (4, 5),
    "Cap": (6, 7),
    "Car": (8, 9, 10, 11),
    "Chair": (12, 13, 14, 15),
    "Earphone": (16, 17, 18),
    "Guitar": (19, 20, 21),
    "Knife": (22, 23),
    "Lamp": (24, 25, 26, 27),
    "Laptop": (28, 29),
    "Motorbike": (30, 31, 32, 33, 34, 35),
    "Mug": (36, 37),
    "Pistol": (38, 39, 40),
    "Rocket": (41, 42, 43),
    "Skateboard": (44, 45, 46),
    "Table": (47, 48, 49),
}
"""ShapeNetPart: the part ids of each category, categories in the order of their one-hot vector."""


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
