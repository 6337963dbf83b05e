"""Part-segmentation scores gathered over the batches of a validation (ShapeNetPart's protocol, see `metrics.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from domains.point_cloud.metrics import restrict, shape_iou


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
        """Scores (B, N, parts), true parts (B, N), categories (B,)."""
        for own, wanted, number in zip(scores, target, category.tolist(), strict=True):
            self.total[number] += shape_iou(restrict(own, self.ids[number]), wanted, self.ids[number])
            self.count[number] += 1

    def compute(self) -> Tensor:
        if self.over == "instances":
            return (self.total.sum() / self.count.sum().clamp(min=1)).float()
        present = self.count > 0
        return (self.total[present] / self.count[present]).mean().float()
