"""Which patches of a video's frames end in the same token: the matchings of all layers, one after another."""

from __future__ import annotations

import torch
from torch import Tensor

from domains.text_video_retrieval.model.tempme import TempMe
from domains.text_video_retrieval.model.token_merging import Matching


@torch.no_grad()
def token_of_patch(model: TempMe, frames: Tensor, layers: int | None = None) -> Tensor:
    """The token that every patch is in, numbered through all clips.

    Args:
        frames: (N, 3, H, W) of one video, normalised. layers: after so many; all where left out.

    Returns:
        (N, patches), int64. Class tokens are among the numbers; no patch is in one.
    """
    x, size = model.vision_model.pre_layrnorm(model.vision_model.embeddings(frames)), None  # (N, tokens, D)
    count, tokens = x.shape[:2]
    clip = torch.arange(count)[:, None].expand(-1, tokens).clone()  # (N, tokens) of the clip that each is in
    place = torch.arange(tokens).expand(count, -1).clone()  # (N, tokens) within it
    for layer in list(model.vision_model.encoder.layers)[:layers]:
        x, size, (across, inside) = layer.traced(x, size)
        step = layer.step
        if step.join > 1:
            own, patches = clip % step.join, step.tokens - step.classes
            behind = step.join * step.classes + own * patches + place - step.classes
            place = torch.where(place < step.classes, own * step.classes + place, behind)
            clip = clip // step.join
        for matching, before in ((across, step.tokens * step.join), (inside, step.attended)):
            if matching is not None:
                place = _moved(matching, before)[clip, place]
    return (clip * x.shape[1] + place)[:, 1:]


def _moved(matching: Matching, tokens: int) -> Tensor:
    """Where each of a clip's tokens is after merging: (clips, tokens) from place to place."""
    classes, kept = matching.classes, matching.kept.shape[1]
    first = 1 - classes % 2
    destinations = torch.arange(first, tokens - classes, 2)
    moved = torch.arange(tokens).expand(len(matching.kept), -1).clone()
    moved[:, classes + destinations] = classes + kept + torch.arange(len(destinations))
    moved.scatter_(1, classes + matching.kept, classes + torch.arange(kept).expand_as(matching.kept))
    return moved.scatter_(1, classes + matching.merged, classes + kept + matching.into)
