"""What drove a prediction, as colours: patches and their centres, influence on the feature, spectral energy, chunks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from domains.point_cloud.model import geometry
from domains.point_cloud.output.pictures import Drawing
from domains.point_cloud.types import Shading
from suite.adapters.methods.additive.point_cloud.pcsa import eigenbasis
from suite.media import points as drawing

CHUNK = 32
"""Centres in a chunk of Morton order where the adapter does not say its own number."""


def explain(model: nn.Module, seen: Tensor, points: Tensor, kind: Shading, tokens: Tensor | None) -> Drawing:
    """A drawing of a cloud whose colours tell what `kind` names.

    Args:
        model: the backbone that saw the cloud.
        seen: (n, 3), the points that it saw. points: (N, 3), the points to draw.
        tokens: (G, C), the patches' last tokens, which `influence` and `spectrum` need.
    """
    centers = model.group(seen[None])[1][0]
    nearest = torch.cdist(points, centers).argmin(1).numpy()
    if kind == "patches":
        return _with_centers(points.numpy(), drawing.label_colors(nearest), centers.numpy())
    if kind == "chunks":
        _, inverse = geometry.morton_order(centers[None])
        return Drawing(points.numpy(), drawing.label_colors((inverse[0].numpy() // _chunk(model))[nearest]))
    assert tokens is not None
    values = influence(tokens) if kind == "influence" else high_energy(centers, tokens)
    return Drawing(points.numpy(), drawing.value_colors(values.numpy()[nearest]))


def influence(tokens: Tensor) -> Tensor:
    """How many of the channels of the pooled maximum come from each patch, (G, C) to (G,)."""
    return torch.bincount(tokens.argmax(0), minlength=len(tokens)).float()


def high_energy(centers: Tensor, tokens: Tensor) -> Tensor:
    """Share of each patch's energy in the upper half of the spectrum of the centres' graph, (G, 3), (G, C) to (G,)."""
    basis = eigenbasis(centers[None])[0]
    upper = basis[:, len(centers) // 2 :]
    centred = tokens - tokens.mean(0)
    high = upper @ (upper.mT @ centred)
    return high.square().sum(1) / centred.square().sum(1).clamp(min=1e-12)


def _chunk(model: nn.Module) -> int:
    configs = (c for m in model.modules() for c in (getattr(m, "settings", None) or {}).values())
    return next((config.local for config in configs if hasattr(config, "local")), CHUNK)


def _with_centers(points: np.ndarray, colors: np.ndarray, centers: np.ndarray) -> Drawing:
    """The cloud with a small black ball at every patch's centre."""
    directions = np.random.default_rng(0).normal(size=(24, 3))
    ball = directions / np.linalg.norm(directions, axis=1, keepdims=True) * 0.02 * np.ptp(points, axis=0).max() / 2
    marks = (centers[:, None] + ball).reshape(-1, 3)
    pale = (0.6 * colors + 0.4 * 255).astype(np.uint8)
    return Drawing(np.concatenate([points, marks]), np.concatenate([pale, np.zeros((len(marks), 3), dtype=np.uint8)]))
