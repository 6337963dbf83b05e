"""Where a score comes from: maps over a face, by two ways. They explain the model; they are no masks of forgery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from domains.deepfake.model.dino import Dino
from domains.deepfake.model.forgery_classifier import FAKE, REAL, ForgeryClassifier
from domains.deepfake.model.perception import PerceptionEncoder
from suite.errors import InputError

CAPTIONS = {
    "patches": "the head's answer for each patch; an explanation aid, no mask of the forgery",
    "rollout": "attention weighed by gradients; an explanation aid, no mask of the forgery",
}


def heatmap(model: ForgeryClassifier, pixels: Tensor, kind: str) -> Tensor:
    """Maps (batch, side, side) in 0-1 for normalised pictures (batch, 3, side, side).

    Of `patches`, 0.5 is where the head is undecided; of `rollout` each map runs from 0 to 1.

    Raises:
        InputError: the tower pools its patches by attention of its own, so that the head has no answer for one.
    """
    if isinstance(model.vision_model, PerceptionEncoder):
        raise InputError("heatmaps are of CLIP's tower and DINOv3's; this detector has another: give --heatmap none")
    maps = patches(model, pixels) if kind == "patches" else rollout(model, pixels)  # (batch, rows, columns)
    size = pixels.shape[-2:]
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)


def patches(model: ForgeryClassifier, pixels: Tensor) -> Tensor:
    """The probability that the head would give each patch: (batch, rows, columns)."""
    with torch.no_grad():
        return torch.sigmoid(model.patch_logits(pixels))


def rollout(model: ForgeryClassifier, pixels: Tensor) -> Tensor:
    """How much each patch flows into the answer: (batch, rows, columns) in 0-1 (Chefer et al. 2021).

    In every layer the mean over heads of the positive part of gradient times attention, plus the identity, rows summing
    to one; the product from the first layer to the last; the class token's row.
    """
    with torch.enable_grad(), _attention(model) as seen:
        logits = model(pixels.detach().requires_grad_(True))
        answer = (logits[:, FAKE] - logits[:, REAL]).sum()
        gradients = torch.autograd.grad(answer, seen)
    joint: Tensor | None = None
    for weights, gradient in zip(seen, gradients, strict=True):  # each (batch, heads, tokens, tokens)
        layer = (gradient * weights).relu().mean(1).detach().float()
        layer = layer + torch.eye(layer.shape[-1], device=layer.device)
        layer = layer / layer.sum(-1, keepdim=True)
        joint = layer if joint is None else layer @ joint
    assert joint is not None
    flow = joint[:, 0, model.first_patch :]  # (batch, patches)
    low, high = flow.amin(1, keepdim=True), flow.amax(1, keepdim=True)
    return ((flow - low) / (high - low).clamp_min(1e-12)).view(len(pixels), model.side, model.side)


@contextmanager
def _attention(model: ForgeryClassifier) -> Iterator[list[Tensor]]:
    """The attention weights of every layer, from the first, of a forward inside; fast kernels do not give them."""
    tower: Any = model.vision_model
    if isinstance(tower, Dino):
        tower = tower.backbone
        attentions = [layer.attention for layer in tower.model.layer]
    else:
        attentions = [layer.self_attn for layer in tower.encoder.layers]
    before = tower.config._attn_implementation
    seen: list[Tensor] = []
    hooks = [
        attention.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs[1]))
        for attention in attentions
    ]
    tower.set_attn_implementation("eager")
    try:
        yield seen
    finally:
        tower.set_attn_implementation(before)
        for hook in hooks:
            hook.remove()
