"""A model small enough for every test: random weights, PointGST attached."""

from __future__ import annotations

from pathlib import Path

import torch

from domains.point_cloud.data import world
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.model.manifest import Stated as Settings
from domains.point_cloud.predict import PointCloudClassifier, PointCloudSegmenter
from suite import adapters

CLASSES = tuple(world.CATEGORIES)
ARCHITECTURE = {
    "trans_dim": 24, "depth": 2, "num_heads": 6, "num_group": 32, "group_size": 16, "encoder_dims": 24,
    "cls_dim": len(CLASSES),
}  # fmt: skip


def classifier(**options: str) -> PointCloudClassifier:
    torch.manual_seed(0)
    net = attachments.attach(bases.build(ARCHITECTURE), "pointgst", rank=8, local=16, **options)
    for parameter in net.parameters():  # untrained, an adapter adds nothing: give it something to add
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return PointCloudClassifier(net, Settings(CLASSES, 256))


def segmenter(method: str = "pointgst", **options: str) -> PointCloudSegmenter:
    torch.manual_seed(0)
    parts = {name: world.CATEGORIES[name][0] for name in CLASSES}
    head = {
        "parts": sum(map(len, parts.values())), "categories": len(CLASSES), "fetch": (0, 1), "propagation": (32, 32),
        "head": (32, 16),
    }  # fmt: skip
    architecture = {**ARCHITECTURE, "class": "part_segmenter", "head": head}
    del architecture["cls_dim"]
    net = attachments.attach(bases.build(architecture), method, rank=8, local=16, **options)
    return PointCloudSegmenter(net, Settings(CLASSES, 256, parts=parts))


def write_adapter(folder: Path) -> tuple[Path, Path]:
    """A base folder and the folder of an adapter on it."""
    torch.manual_seed(0)
    base = bases.save_base(bases.build(ARCHITECTURE), folder / "base")
    net = attachments.attach(bases.load_base_folder(base, cls_dim=len(CLASSES)), "pointgst", rank=8, local=16)
    extra = {
        "backbone": ARCHITECTURE,
        "classes": list(CLASSES),
        "npoints": 128,
        "normalise": True,
        "method": "pointgst",
    }
    return base, adapters.save(net, folder / "adapter", extra=extra)
