"""The embedded default of point clouds: its base and its adapters, rebuilt by one command.

    python -m domains.point_cloud.tiny

The base is a small Point-MAE, pre-trained by masked reconstruction on random assemblies of solids (`shapes.py`). The
named categories on which the adapters are trained are held out from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import Tensor

from domains.point_cloud import shapes
from domains.point_cloud.backbone import BackboneConfig
from domains.point_cloud.model import save_base
from domains.point_cloud.pretraining import Schedule, pretrain
from suite.hub import paths

BASE = BackboneConfig(
    trans_dim=96, depth=6, num_heads=6, num_group=32, group_size=16, encoder_dims=96, encoder_width=48, cls_dim=8
)
SCHEDULE = Schedule(steps=2000)
POOL = 4000


def assemblies(count: int, points: int = 1024) -> Tensor:
    """Clouds (count, points, 3) of the pre-training family."""
    made = (shapes.make("assembly", seed, points, noise=0.01).points for seed in range(count))
    return torch.from_numpy(np.stack(list(made))).float()


def write_base(folder: Path, schedule: Schedule = SCHEDULE, pool: int = POOL) -> Path:
    """Pre-train the base and save it as a base folder."""
    return save_base(pretrain(assemblies(pool), BASE, schedule), folder, base_card(schedule, pool))


def base_card(schedule: Schedule, pool: int) -> str:
    """The README of the base."""
    return f"""---
license: apache-2.0
library_name: pytorch
---

# The tiny base of point clouds

A Point-MAE encoder: {BASE.depth} blocks of width {BASE.trans_dim}, {BASE.num_group} patches of {BASE.group_size}
points. It was pre-trained by masked reconstruction (60 % of the patches hidden, chamfer distance) on {pool:,} random
assemblies of boxes, cones, ellipsoids and tori. It has never seen the named categories (tables, mugs, lamps ...) that
the adapters beside it are trained on, nor any real scan.

- Data: made at run time by `domains/point_cloud/shapes.py`; nothing was downloaded.
- Training: {schedule.steps} steps of {schedule.batch} clouds of {schedule.points} points, turned about y, scaled and
  shifted; AdamW, cosine; about 10 minutes of one CPU core in fp32, no GPU.
- Rebuild: `python -m domains.point_cloud.tiny --part base`
"""


def rebuild(part: Literal["all", "base"] = "all") -> None:
    """Rebuild the embedded default in place.

    Args:
        part: what to rebuild; a new base needs new adapters.
    """
    home = paths.checkpoints() / "tiny" / "point_cloud"
    write_base(home / "base")


if __name__ == "__main__":
    auto_cli(rebuild)
