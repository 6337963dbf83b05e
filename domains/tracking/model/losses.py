"""SPMTrack's losses: scores that say how well the cell's box overlaps, and boxes by generalised IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from domains.tracking.model.spmtrack import Step
from suite.errors import InputError

EPSILON = 1e-6


@dataclass(frozen=True)
class LossSettings:
    """How the parts are weighed.

    Attributes:
        kind: `bce`, or `varifocal` (Zhang et al., arXiv 2008.13367), which weighs cells by their quality.
        score_weight, box_weight: of the two parts.
        warmup_epochs: in which the boxes' part counts `warmup_factor` times; 2 for the published L, else 0.
        alpha, gamma: of `varifocal`.
    """

    kind: Literal["bce", "varifocal"] = "bce"
    score_weight: float = 1.0
    box_weight: float = 1.0
    warmup_epochs: int = 0
    warmup_factor: float = 10.0
    alpha: float = 0.75
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in ("bce", "varifocal"):
            raise InputError(f"recipe.loss.kind is {self.kind!r}; give bce or varifocal")

    def box_factor(self, epoch: int) -> float:
        """What the boxes' part is multiplied by in an epoch, counted from 0."""
        return self.box_weight * (self.warmup_factor if epoch < self.warmup_epochs else 1.0)


class Terms(NamedTuple):
    """Of one search frame, before weights; per sample, so that they sum to the batch's."""

    score: Tensor  # (batch,)
    box: Tensor  # (batch,)


def frame_terms(step: Step, positives: Tensor, boxes: Tensor, count: Tensor, settings: LossSettings) -> Terms:
    """What one search frame adds to the loss.

    Args:
        step: of the tracker.
        positives: (batch, S, S), bool, the cells that the object touches.
        boxes: (batch, 4), the truth, x1, y1, x2, y2 in parts of the crop.
        count: positive cells of the whole batch, over all processes their mean; at least 1.
    """
    truth = boxes[:, None, None].expand_as(step.boxes)  # (batch, S, S, 4)
    quality, generalised = overlaps(step.boxes, truth)  # (batch, S, S) each
    target = torch.where(positives, quality.detach(), 0)
    if settings.kind == "bce":
        score = functional.binary_cross_entropy_with_logits(step.scores, target, reduction="none")
    else:
        score = varifocal(step.scores, target, settings)
    box = torch.where(positives, 1 - generalised, 0)
    return Terms(score.sum((1, 2)) / count, box.sum((1, 2)) / count)


def varifocal(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy in which a positive cell counts as much as its quality and a negative one the more it is wrong."""
    wrong = (logits.sigmoid() - target).abs().pow(settings.gamma)
    weight = torch.where(target > 0, target, settings.alpha * wrong)
    return weight * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")


def overlaps(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., arXiv 1902.09630) of boxes (..., 4), x1, y1, x2, y2."""
    left_top, right_bottom = (
        torch.maximum(found[..., :2], truth[..., :2]),
        torch.minimum(found[..., 2:], truth[..., 2:]),
    )
    shared = (right_bottom - left_top).clamp(min=0).prod(-1)
    union = _area(found) + _area(truth) - shared
    iou = shared / union.clamp(min=EPSILON)
    low, high = torch.minimum(found[..., :2], truth[..., :2]), torch.maximum(found[..., 2:], truth[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=EPSILON)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)
