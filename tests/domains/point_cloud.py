"""What the contract test must know of point clouds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from domains.point_cloud.data import world
from suite import hub, training
from suite.hub import paths
from tests.domains.contract import Case, Subject


def good(folder: Path) -> Path:
    path = folder / "mug.xyz"
    np.savetxt(path, world.make("mug", 2_000_001, 1024).points, fmt="%.5f")
    return path


def bad(folder: Path) -> Path:
    path = folder / "cut.ply"
    path.write_text("ply\nformat ascii 1.0\nelement vertex 100\nproperty float x\nproperty float y\n")
    return path


def score(adapter: str | None) -> float:
    """Accuracy on test shapes."""
    config = training.load_config(paths.assets() / "configs" / "point_cloud" / "tiny.yaml")
    config = dataclasses.replace(config, data={**config.data, "val": "shapes:test:80"})
    folder = None if adapter is None else hub.resolve(adapter, "point_cloud")
    return training.evaluate(config, folder)["val/accuracy"]


SUBJECT = Subject(
    domain="point_cloud",
    good=good,
    bad=bad,
    score=score,
    margin=0.5,
    smoke=(
        *("--data.train", "shapes:train:48", "--data.val", "shapes:val:16", "--data.batch_size", "8"),
        *("--trainer.max_epochs", "4", "--trainer.val_every", "2.0"),
    ),
    evaluate=("shapes:test:8",),
    others=(
        Case(
            "point_cloud/tiny_parts.yaml",
            ("--data.train", "shapes:train:16", "--data.val", "shapes:val:8", "--data.batch_size", "8"),
            "tiny-parts",
            ("--task", "segmentation"),
        ),
    ),
)
