"""What a masked autoencoder makes of clouds, as a picture: the cloud, what it was shown, what it made of that."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from domains.point_cloud.model import geometry
from domains.point_cloud.model.masked_autoencoder import PointMAE
from suite.media import points as drawing
from suite.media import sheets
from suite.media.sheets import Pixels

SHOWN, REBUILT = (120, 120, 120), (224, 122, 31)
"""Colours of the points that the model was shown and of those that it made."""

SIZE = 240


@torch.no_grad()
def rebuild(model: PointMAE, clouds: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The points of the visible patches (B, V, 3) and the rebuilt points of the hidden ones (B, H, 3)."""
    patches, centers = geometry.group(clouds, model.config.num_group, model.config.group_size)
    rebuilt, hidden = model.reconstruct(patches, centers, torch.Generator().manual_seed(seed))
    kept = torch.ones(centers.shape[:2], dtype=torch.bool).scatter_(1, hidden, False)
    placed = patches + centers[:, :, None]
    visible = torch.stack([own[mask].flatten(0, 1) for own, mask in zip(placed, kept, strict=True)])
    return visible, (rebuilt + geometry.gather(centers, hidden)[:, :, None]).flatten(1, 2)


def picture(model: PointMAE, clouds: Tensor, seed: int = 0) -> Pixels:
    """Clouds (B, N, 3) in rows: whole, the visible patches, these with the rebuilt ones."""
    panels = []
    for cloud, visible, made in zip(clouds, *rebuild(model, clouds, seed), strict=True):
        both = torch.cat([visible, made])
        colors = np.repeat(np.array([SHOWN, REBUILT], dtype=np.uint8), [len(visible), len(made)], axis=0)
        views = ((cloud, None, "cloud"), (visible, colors[: len(visible)], "shown"), (both, colors, "rebuilt"))
        for points, shades, title in views:
            shades = np.full((len(points), 3), SHOWN, np.uint8) if shades is None else shades
            panels.append(sheets.caption(drawing.render(points.numpy(), shades, size=SIZE), title))
    return sheets.sheet(panels, columns=3)
