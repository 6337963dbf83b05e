"""What the contract test must know of tracking."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domains.tracking.data import world
from suite import hub, training
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
    """How small the loss is on held-out samples; the frozen base has a head and embeddings that start at random."""
    words = ["--data.val", HELD_OUT, "--data.val_samples", "16", "--data.train", "world:train:1"]
    config = training.load_config(paths.assets() / "configs" / "tracking" / "tiny.yaml", words)
    folder = None if adapter is None else hub.resolve(adapter, "tracking", kind="adapter")
    return -training.evaluate(config, folder)["val/loss"]


SUBJECT = Subject(
    domain="tracking",
    good=good,
    bad=bad,
    score=score,
    margin=1.0,
    smoke=(
        *("--data.train", "world:train:4", "--data.val", "null", "--trainer.monitor", "null"),
        *("--data.samples_per_epoch", "20", "--data.batch_size", "2", "--trainer.max_epochs", "2"),
    ),
    options=("--box", box(), "--no-annotate"),
    evaluate=("world:test:1", "--max-frames", "4"),
)
