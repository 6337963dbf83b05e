"""Slerp: new features between those of one class, on the great circle (arXiv 2503.19683, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CLOSEST = 1e-7
"""Of a cosine to 1 or -1: beyond, the sine that is divided by would be 0."""


def slerp(first: Tensor, second: Tensor, t: Tensor | float) -> Tensor:
    """The point at share `t` of the way on the sphere: (rows, width), float32 whatever comes in.

    Half precision cannot hold 1 - 1e-7: the angle of a feature with itself would be 0, and the result NaN.

    Args:
        first, second: (rows, width), of any length. t: (rows, 1) or a number, 0 for `first`.
    """
    with torch.autocast(first.device.type, enabled=False):
        a, b = functional.normalize(first.float(), dim=-1), functional.normalize(second.float(), dim=-1)
        cosine = (a * b).sum(-1, keepdim=True).clamp(-1 + _CLOSEST, 1 - _CLOSEST)  # (rows, 1)
        angle = torch.acos(cosine)
        part = t * angle
        return (torch.sin(angle - part) * a + torch.sin(part) * b) / torch.sin(angle)


def between(features: Tensor, labels: Tensor, span: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Replace each feature by one between it and another of its class; a new tensor (batch, width), float32.

    A class of a single sample keeps it as it is, of whatever length.

    Args:
        features: (batch, width), before the head's normalisation. labels: (batch,).
        span: from where to where the share of the way is drawn, evenly.
    """
    result = features.float()
    low, high = span
    for label in torch.unique(labels):  # ascending
        rows = torch.nonzero(labels == label).flatten()  # (n,)
        if len(rows) < 2:
            continue
        # On the CPU, so that the draws are the same on whichever device trains.
        others = torch.randperm(len(rows)).to(rows.device)
        t = (torch.rand(len(rows), 1) * (high - low) + low).to(result.device)
        own = result[rows]  # (n, width)
        result = result.index_copy(0, rows, slerp(own, own[others], t))
    return result
