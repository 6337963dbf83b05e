"""TempMe in plain loops, one token at a time, written from the paper's text: what the fast code is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pairs(metric: Tensor, merged: int, classes: int) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Of one clip (n, d): kept sources, (source, destination) that merge, destinations; positions among patches."""
    patches = metric[classes:] / metric[classes:].norm(dim=-1, keepdim=True)
    first = 0 if classes % 2 == 0 else 1
    sources = [i for i in range(len(patches)) if i % 2 == first]
    destinations = [i for i in range(len(patches)) if i % 2 != first]
    found = []
    for source in sources:
        scores = [float(patches[source] @ patches[other]) for other in destinations]
        best = max(range(len(scores)), key=scores.__getitem__)
        found.append((scores[best], source, destinations[best]))
    found.sort(key=lambda each: -each[0])
    gone = [(source, into) for _, source, into in found[:merged]]
    return sorted(source for _, source, _ in found[merged:]), gone, destinations


def merged(x: Tensor, size: list[float], metric: Tensor, count: int, classes: int) -> tuple[Tensor, list[float]]:
    """Of one clip (n, D): its tokens and sizes after merging `count` of them."""
    if count <= 0:
        return x, size
    kept, gone, destinations = pairs(metric, count, classes)
    rows, sizes = list(x[:classes]), size[:classes]
    for patch in kept:
        rows.append(x[classes + patch])
        sizes.append(size[classes + patch])
    for patch in destinations:
        members = [patch, *(source for source, into in gone if into == patch)]
        total = sum(size[classes + member] for member in members)
        rows.append(sum(x[classes + member] * size[classes + member] for member in members) / total)
        sizes.append(total)
    return torch.stack(rows), sizes


def attention(layer: torch.nn.Module, x: Tensor, size: list[float] | None, heads: int) -> tuple[Tensor, Tensor]:
    """Of one clip (n, D): the attention's output, head by head, and the keys' mean over heads."""
    width = x.shape[1] // heads
    q, k, v = layer.q_proj(x), layer.k_proj(x), layer.v_proj(x)
    outputs, keys = [], []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        logits = q[:, part] @ k[:, part].T / math.sqrt(width)
        if size is not None:
            logits = logits + torch.tensor(size).log()[None]
        outputs.append(logits.softmax(-1) @ v[:, part])
        keys.append(k[:, part])
    return layer.out_proj(torch.cat(outputs, 1)), torch.stack(keys).mean(0)


def block(layer: torch.nn.Module, clips: list[Tensor], sizes: list[list[float]] | None, heads: int) -> tuple:
    """One layer over the clips of one video, [(n, D)], by the numbers of its step."""
    step = layer.step
    if step.join > 1:
        sizes = sizes or [[1.0] * len(clip) for clip in clips]
        grouped, counts = [], []
        for first in range(0, len(clips), step.join):
            group = range(first, first + step.join)
            order = [(c, t) for c in group for t in range(step.classes)]
            order += [(c, t) for c in group for t in range(step.classes, step.tokens)]
            metric = torch.stack([clips[c][t] for c, t in order]).detach()
            placed = [clips[c][t] + (layer.temporal_position[0, c, 0] if step.across else 0) for c, t in order]
            size = [sizes[c][t] for c, t in order]
            x, size = merged(torch.stack(placed), size, metric, step.across, step.classes * step.join)
            grouped.append(x)
            counts.append(size)
        clips, sizes = grouped, counts
    results, left = [], []
    for number, x in enumerate(clips):
        size = None if sizes is None else sizes[number]
        attended, keys = attention(layer.self_attn, layer.layer_norm1(x), size, heads)
        x = x + attended
        if step.inside:
            x, size = merged(x, size or [1.0] * len(x), keys.detach(), step.inside, step.classes_left)
        results.append(x + layer.mlp(layer.layer_norm2(x)))
        left.append(size)
    return results, None if any(size is None for size in left) else left
