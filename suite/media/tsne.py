"""Features of many clouds as a picture: t-SNE of what the head sees (van der Maaten and Hinton, JMLR 2008).

As in the published pictures: two components, started from the principal ones, min-max to the unit square, one colour
a class. Exact, since test sets have a few thousand clouds; nothing in it is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from suite.errors import InputError
from suite.media import plots, style

PERPLEXITY = 30.0
STEPS, EXAGGERATED = 500, 250
"""Steps of the descent, and how many of them pull neighbours together twelve times as hard, as is usual."""


@torch.no_grad()
def tsne(features: Tensor, perplexity: float = PERPLEXITY) -> Tensor:
    """Places (S, 2) in the unit square for features (S, D); near features are near each other.

    Args:
        perplexity: about how many neighbours count; a third of the clouds at most.

    Raises:
        InputError: there are fewer than four clouds.
    """
    if len(features) < 4:
        raise InputError(f"a picture of features needs at least 4 clouds, not {len(features)}")
    features = features.double()
    wanted = affinities(features, min(perplexity, (len(features) - 1) / 3))
    places = _principal(features)
    moved, gains = torch.zeros_like(places), torch.ones_like(places)
    rate = max(len(features) / 48, 50.0)
    for step in range(STEPS):
        early = step < EXAGGERATED
        slope = _slope(wanted * 12 if early else wanted, places)
        gains = torch.where(slope * moved < 0, gains + 0.2, gains * 0.8).clamp(min=0.01)
        moved = (0.5 if early else 0.8) * moved - rate * gains * slope
        places = places + moved
    low, high = places.amin(0), places.amax(0)
    return ((places - low) / (high - low).clamp(min=1e-12)).float()


def affinities(features: Tensor, perplexity: float) -> Tensor:
    """Symmetric neighbour probabilities (S, S), which sum to 1: a Gaussian about each cloud, as wide as it takes."""
    distance = torch.cdist(features, features).square()
    distance.fill_diagonal_(torch.inf)
    scale = distance.masked_fill(distance.isinf(), 0).mean().clamp(min=1e-12)
    low, high = (torch.full((len(features), 1), edge, dtype=features.dtype) for edge in (-30.0, 30.0))
    target = torch.tensor(perplexity, dtype=features.dtype).log()
    for _ in range(50):  # bisection of the logarithm of each width
        middle = (low + high) / 2
        shares = (-distance / scale * middle.exp()).softmax(1)
        wide = torch.special.entr(shares).sum(1, keepdim=True) > target
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return ((shares + shares.T) / (2 * len(features))).clamp(min=1e-12)


def _principal(features: Tensor) -> Tensor:
    """The first two principal components (S, 2), small, each with a sign of its own."""
    left, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    first = left[:, :2] * values[:2]
    first = first * first.gather(0, first.abs().argmax(0, keepdim=True)).sign()
    return first / first[:, 0].std().clamp(min=1e-12) * 1e-4


def _slope(wanted: Tensor, places: Tensor) -> Tensor:
    """The gradient (S, 2) of the divergence between the two neighbour probabilities."""
    near = 1 / (1 + torch.cdist(places, places).square())
    near.fill_diagonal_(0)
    pull = (wanted - (near / near.sum()).clamp(min=1e-12)) * near
    return 4 * (pull.sum(1, keepdim=True) * places - pull @ places)


def draw(places: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """The places (S, 2) in their classes' colours, which differ for any number of classes."""
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    present = [number for number in range(len(classes)) if bool((labels == number).any())]
    wheel = colormaps["tab10" if len(present) <= 10 else "tab20" if len(present) <= 20 else "turbo"]
    for order, number in enumerate(present):
        colour = wheel(order if len(present) <= 20 else order / (len(present) - 1))
        across, up = places[labels == number].T.numpy()
        marker = "os^D"[order % 4]
        axes.scatter(across, up, s=22, color=[colour], marker=marker, linewidths=0, label=classes[number])
    axes.set_xticks([])
    axes.set_yticks([])
    style.frame(axes)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, ncols=1 if len(present) <= 20 else 2)
    return figure


def save(features: Tensor, labels: Tensor, classes: Sequence[str], folder: Path) -> list[Path]:
    """Write `features.png` and `features.svg`."""
    figure = draw(tsne(features), labels, classes)
    return [plots.save(figure, folder / f"features{suffix}") for suffix in (".png", ".svg")]
