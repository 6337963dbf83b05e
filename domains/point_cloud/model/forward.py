"""A batch of clouds through a backbone with its adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from domains.point_cloud.model.part_segmenter import PartSegmenter
from domains.point_cloud.model.point_m2ae import Scales
from domains.point_cloud.model.prior import PointPrior
from suite import adapters


@dataclass(frozen=True)
class SideInformation:
    """What adapters may ask of one batch of clouds beside their tokens."""

    points: Tensor
    centers: Tensor
    extra: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def clouds_context(model: nn.Module, side: SideInformation) -> Iterator[None]:
    """A block in which the adapters of `model` see the centres and points of a batch."""
    with adapters.context(model, points=side.points, centers=side.centers, **side.extra):
        yield


@torch.no_grad()
def cloud_feature(model: nn.Module, patches: Tensor | Scales, centers: Tensor) -> Tensor:
    """The frozen backbone's own feature of each cloud, (B, C), without class token and adapters."""
    modes = [(module, module.training) for module in model.modules()]
    # Stochastic depth would make another feature of the same cloud at every step.
    model.eval()
    try:
        with adapters.disabled(model):
            return model.summary(patches, centers)
    finally:
        for module, training in modes:  # frozen batch norms stay in evaluation mode while the rest trains
            module.training = training


def build_bank(model: nn.Module, clouds: Iterable[Tensor], batch: int = 64) -> Tensor:
    """Point-PEFT's bank (C, M): one normalised feature of the frozen backbone for each cloud (N, 3)."""
    columns: list[Tensor] = []
    waiting: list[Tensor] = []
    device = next(model.parameters()).device

    def flush() -> None:
        if waiting:
            feature = cloud_feature(model, *model.group(torch.stack(waiting).to(device)))
            columns.append(nn.functional.normalize(feature, dim=-1).T)
            waiting.clear()

    for cloud in clouds:
        waiting.append(cloud)
        if len(waiting) == batch:
            flush()
    flush()
    return torch.cat(columns, 1)


@contextmanager
def head_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """A block in which a list gathers what the classification head sees of every batch, (B, 2C) on the CPU."""
    head = next(part for name, part in model.named_modules() if name.endswith("cls_head_finetune"))
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0].float().cpu()))
    try:
        yield seen
    finally:
        hook.remove()


def predict_logits(
    model: nn.Module, points: Tensor, category: Tensor | None = None, prior: PointPrior | None = None
) -> Tensor:
    """A batch through a backbone and its adapters: logits (B, classes), or log-probabilities (B, N, parts).

    Args:
        points: (B, N, 3 + channels).
        category: one-hot (B, categories), for part segmentation.
        prior: of a Point-PEFT adapter that was trained with one.
    """
    patches, centers = model.group(points)
    extra = {} if prior is None else {"prior": prior.prompt(cloud_feature(model, patches, centers))}
    if isinstance(patches, Scales):
        extra["levels"] = patches.centers
    with clouds_context(model, SideInformation(points[..., :3], centers, extra)):
        if isinstance(model, PartSegmenter):
            return model(points, category, groups=(patches, centers))
        return model(points, groups=(patches, centers))
