"""Bipartite matching and merging of tokens (ToMe, arXiv 2210.09461) with TempMe's class tokens (arXiv 2409.01156).

Tokens of a clip stand as [class tokens, patch tokens]. Class tokens are never merged. Patch tokens are alternately
sources and destinations; the `merged` most similar sources are each added to the destination that is nearest to them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.fused.frozen import without_autocast


class Matching(NamedTuple):
    """Which patch tokens merge into which; positions count among the patch tokens, class tokens left out.

    Attributes:
        kept: (B, sources - merged) positions of the sources that stay, ascending.
        merged: (B, merged) positions of those that go, the most similar first.
        into: (B, merged) where each goes, counted among the destinations.
        classes: class tokens before the patch tokens.
    """

    kept: Tensor
    merged: Tensor
    into: Tensor
    classes: int


def sources(patches: int, classes: int) -> int:
    """How many of a clip's patch tokens are sources, and can be merged at most."""
    return (patches + (classes + 1) % 2) // 2


def match(metric: Tensor, merged: int, classes: int) -> Matching | None:
    """Find the tokens to merge; without gradient, in float32, ties in the order of positions.

    Args:
        metric: (B, n, d) what tokens are compared by (cosine), class tokens first.
        merged: tokens to merge; None is returned for 0.
        classes: class tokens. With an odd number of them the destinations are the even patch positions, else the
            odd ones: the parity of the position in the whole sequence decides.

    Raises:
        ValueError: there are fewer sources.
    """
    if merged <= 0:
        return None
    patches = metric.shape[1] - classes
    if merged > sources(patches, classes):
        raise ValueError(
            f"{merged} tokens to merge of {patches} patches with {classes} class tokens, of which "
            f"{sources(patches, classes)} are sources"
        )
    first = 1 - classes % 2  # the first destination
    # Autocast would compare in bfloat16, in which many tokens are equally similar.
    with torch.no_grad(), without_autocast(metric):
        unit = functional.normalize(metric[:, classes:].float(), dim=-1)  # (B, p, d)
        scores = unit[:, 1 - first :: 2] @ unit[:, first::2].transpose(1, 2)  # (B, sources, destinations)
        best, into = scores.max(-1)
        order = _falling(best)
        gone, kept = order[:, :merged], order[:, merged:].sort(-1).values
        return Matching(2 * kept + 1 - first, 2 * gone + 1 - first, into.gather(1, gone), classes)


def _falling(values: Tensor) -> Tensor:
    """Places (B, n) of values in falling order, equal ones in the order of their places.

    ONNX has no stable sort, but its TopK, which torch's is exported to, breaks ties so.
    """
    if torch.compiler.is_exporting():
        return values.topk(values.shape[-1]).indices
    return values.argsort(dim=-1, descending=True, stable=True)


def merge(x: Tensor, size: Tensor | None, matching: Matching | None) -> tuple[Tensor, Tensor | None]:
    """Merge tokens, each weighing as much as the tokens that it stands for.

    Args:
        x: (B, n, D). size: (B, n, 1) how many tokens each stands for; None is 1.

    Returns:
        x: (B, n - merged, D): class tokens, kept sources, destinations, in order. size: of each.
    """
    if matching is None:
        return x, size
    if size is None:
        size = x.new_ones(*x.shape[:2], 1)
    batch, count, width = x.shape
    offset = torch.arange(batch, device=x.device)[:, None] * count + matching.classes
    kept, gone = (offset + matching.kept).flatten(), (offset + matching.merged).flatten()
    first = 1 - matching.classes % 2
    # Copies of rows and one addition of rows: a gather or scatter over expanded indices costs several times as much.
    rows, sizes = x.reshape(-1, width), size.reshape(-1, 1)
    old = size[:, matching.classes + first :: 2]  # (B, destinations, 1)
    places = (torch.arange(batch, device=x.device)[:, None] * old.shape[1] + matching.into).flatten()
    weights = sizes.index_select(0, gone)  # (B * merged, 1)
    new = old.reshape(-1, 1).index_add(0, places, weights)
    summed = (x[:, matching.classes + first :: 2] * old).reshape(-1, width)
    summed = summed.index_add(0, places, rows.index_select(0, gone) * weights)
    parts = [
        x[:, : matching.classes],
        rows.index_select(0, kept).view(batch, -1, width),
        (summed / new).view(batch, -1, width),
    ]
    counts = [
        size[:, : matching.classes],
        sizes.index_select(0, kept).view(batch, -1, 1),
        new.view(batch, -1, 1),
    ]
    return torch.cat(parts, 1), torch.cat(counts, 1)


def join(tokens: Tensor, clips: int, classes: int) -> Tensor:
    """Put each `clips` neighbouring clips together: their class tokens in order of time, then their patches.

    Args:
        tokens: (B, n, D), `classes` class tokens first.

    Returns:
        (B / clips, clips * n, D).
    """
    if clips == 1:
        return tokens
    grouped = tokens.unflatten(0, (-1, clips))  # (B / clips, clips, n, D)
    return torch.cat([grouped[:, :, :classes].flatten(1, 2), grouped[:, :, classes:].flatten(1, 2)], 1)
