"""What the contract test must know of tracking."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from domains.tracking.data import world
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.model.manifest import Manifest
from domains.tracking.recipe import TrackingRecipe
from domains.tracking.tiny.rebuild import measure, reached
from suite import adapters, training
from suite.hub import paths
from suite.media.video_writing import video_writer
from tests.domains.contract import Subject

HELD_OUT = "world:test:4"
SCENE = world.scene("test", 900, frames=8, width=120, height=90)


def good(folder: Path) -> Path:
    path = folder / "figures.mp4"
    with video_writer(path, world.FPS) as writer:
        for frame in range(len(SCENE)):
            writer.write(SCENE.picture(frame))
    return path


def bad(folder: Path) -> Path:
    path = folder / "torn.mp4"
    path.write_bytes(b"no video")
    return path


def box() -> str:
    left, top, right, bottom = SCENE.truth(0, 0).box
    return f"{left},{top},{right - left},{bottom - top}"


@cache
def score(adapter: str | None) -> float:
    """Success AUC on held-out sequences; without an adapter, head and embeddings are as they begin."""
    if adapter is not None:
        return measure(adapter, source=HELD_OUT)["auc"]
    config = training.load_config(paths.assets() / "configs" / "tracking" / "tiny.yaml")
    recipe = TrackingRecipe(config.base, **config.recipe)
    torch.manual_seed(config.seed)
    loaded = LoadedTracker(recipe.build(), Manifest(recipe.tracker))
    with adapters.disabled(loaded.model):
        return reached(loaded, HELD_OUT)["auc"]


SUBJECT = Subject(
    domain="tracking",
    good=good,
    bad=bad,
    score=score,
    margin=0.1,
    smoke=(
        *("--data.train", "world:train:4", "--data.val", "null", "--trainer.monitor", "null"),
        *("--data.samples_per_epoch", "20", "--data.batch_size", "2", "--trainer.max_epochs", "2"),
    ),
    options=("--box", box(), "--no-annotate"),
    evaluate=("world:test:1", "--max-frames", "4"),
)
