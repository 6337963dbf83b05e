"""The embedded default of point clouds: its base and its adapters, rebuilt by one command.

    python -m domains.point_cloud.tiny

The base is a small Point-MAE, pre-trained by masked reconstruction on random assemblies of solids (`shapes.py`). The
named categories on which the adapters are trained are held out from it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import Tensor

from domains.point_cloud.data import world
from domains.point_cloud.evaluation.calibrate import calibrate
from domains.point_cloud.model.bases import save_base
from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.pretraining import Schedule, pretrain
from suite import hub, training
from suite.files import atomic_folder
from suite.training import embedded

BASE = BackboneConfig(
    trans_dim=96, depth=6, num_heads=6, num_group=32, group_size=16, encoder_dims=96, encoder_width=48, cls_dim=8
)
SCHEDULE = Schedule(steps=2000)
POOL = 4000
TEST = "shapes:test:400"
MEASURES = {"tiny.yaml": "accuracy", "tiny_parts.yaml": "instance_miou"}
"""The shipped configurations, and the measure that each adapter's card states."""
COMMANDS = {
    "tiny.yaml": "suite point_cloud evaluate shapes:test --occluded 0.1",
    "tiny_parts.yaml": "suite point_cloud evaluate shapes:test --task segmentation --adapter tiny-parts",
}
"""What prints that measure of the shipped adapter."""


def assemblies(count: int, points: int = 1024) -> Tensor:
    """Clouds (count, points, 3) of the pre-training family."""
    made = (world.make("assembly", seed, points, noise=0.01).points for seed in range(count))
    return torch.from_numpy(np.stack(list(made))).float()


def write_base(folder: Path, schedule: Schedule = SCHEDULE, pool: int = POOL) -> Path:
    """Pre-train the base and save it as a base folder."""
    encoder = pretrain(assemblies(pool), BASE, schedule)
    with atomic_folder(folder, own=True) as temporary:
        save_base(encoder, temporary, base_card(schedule, pool))
    return folder


def train_adapter(folder: Path, config_name: str, run_dir: Path, base: str = "tiny", seed: int = 42) -> float:
    """Train by a shipped configuration, put the adapter into `folder`, and return what it reaches on test shapes."""

    def measure(config: training.ExperimentConfig, adapter: Path) -> float:
        tested = dataclasses.replace(config, data={**config.data, "val": TEST})
        return float(training.evaluate(tested, adapter)[f"val/{MEASURES[config_name]}"])

    return embedded.train_adapter(
        folder,
        "point_cloud",
        config_name,
        run_dir,
        measure=measure,
        card=lambda config, score: adapter_card(config_name, config.data["train"], score),
        base=base,
        seed=seed,
    )


def measured_on(config_name: str) -> str:
    """What the catalogue says of a figure: the data, and in brackets the command that prints it."""
    return f"400 held-out made shapes ({COMMANDS[config_name]})"


def base_card(schedule: Schedule, pool: int) -> str:
    """The README of the base."""
    text = f"""\
A Point-MAE encoder: {BASE.depth} blocks of width {BASE.trans_dim}, {BASE.num_group} patches of {BASE.group_size}
points. It was pre-trained by masked reconstruction (60 % of the patches hidden, chamfer distance) on {pool:,} random
assemblies of boxes, cones, ellipsoids and tori. It has never seen the named categories (tables, mugs, lamps ...) that
the adapters beside it are trained on, nor any real scan.

- Data: made at run time by `domains/point_cloud/data/world.py`; nothing was downloaded.
- Training: {schedule.steps} steps of {schedule.batch} clouds of {schedule.points} points, turned about y, scaled and
  shifted; AdamW, cosine; about 10 minutes of one CPU core in fp32, no GPU.
- Rebuild: `python -m domains.point_cloud.tiny --part base`
"""
    return embedded.card("The tiny base of point clouds", text, {"library_name": "pytorch"})


def adapter_card(config_name: str, data: str, score: float) -> str:
    """The README of an adapter trained on `data`."""
    parts = config_name == "tiny_parts.yaml"
    task = "cuts them into their parts" if parts else "tells them apart"
    option = " --task segmentation --adapter tiny-parts" if parts else ""
    told = ", each told its category" if parts else ""
    text = f"""\
PointGST on the tiny base, with its head. It knows eight categories of made shapes ({", ".join(world.CATEGORIES)}) and
{task}. It is meant for tests and demonstrations: real scans are none of its business.

- Data: {data.rsplit(":")[-1]} shapes of the made world (`{data}`), of categories that the base has never seen.
- Training: `suite point_cloud train --config configs/point_cloud/{config_name}`, on CPU, no GPU; the epoch was chosen
  on 160 validation shapes.
- Reached on 400 test shapes{told}: {MEASURES[config_name].replace("_miou", " mIoU")} {score:.3f}
  (`{COMMANDS[config_name]}`).
- Use: `suite point_cloud predict FILE{option}`
- Rebuild: `python -m domains.point_cloud.tiny --part {"parts" if parts else "adapter"}`
"""
    title = f"The tiny {'part-segmentation' if parts else 'classification'} adapter of point clouds"
    return embedded.card(title, text, {"library_name": "peft", "base_model": "point_cloud/tiny"})


def rebuild(part: Literal["all", "base", "adapter", "parts"] = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs new adapters.
        run_dir: where the training runs of the adapters are kept.
    """
    home = embedded.home("point_cloud")
    if part in ("all", "base"):
        embedded.record(write_base(home / "base"), "point_cloud", kind="base")
    for name, label, config_name in (("adapter", "tiny", "tiny.yaml"), ("parts", "tiny-parts", "tiny_parts.yaml")):
        if part in ("all", name):
            score = train_adapter(home / name, config_name, run_dir / name)
            if name == "adapter":
                calibrate("shapes:val", adapter=str(home / name), base=str(home / "base"), occluded=0.1)
            metric = hub.Metric(MEASURES[config_name], round(score, 3), measured_on(config_name))
            embedded.record(home / name, "point_cloud", name=label, method="pcsa", base="tiny", metric=metric)


if __name__ == "__main__":
    auto_cli(rebuild)
