"""What the contract test must know of deepfake detection."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

from domains.deepfake.data import world
from domains.deepfake.tiny.rebuild import measure
from suite import training
from suite.hub import paths
from tests.domains.contract import Subject

HELD_OUT = "faces:test:32"


def good(folder: Path) -> Path:
    path = folder / "face.png"
    Image.fromarray(world.clip(9_000_001, "splice", frames=1, size=160).frames[0]).save(path)
    return path


def bad(folder: Path) -> Path:
    path = folder / "cut.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return path


@cache
def score(adapter: str | None) -> float:
    """Video AUROC of held-out made clips; the frozen base has a head that starts at random."""
    if adapter is not None:
        return float(measure(adapter, source=HELD_OUT)["auroc"])
    overrides = ["--data.val", HELD_OUT, "--data.frames", "4", "--data.train", "faces:train:2"]
    config = training.load_config(paths.assets() / "configs" / "deepfake" / "tiny.yaml", overrides)
    return training.evaluate(config, None)["val/auroc_video"]


SUBJECT = Subject(
    domain="deepfake",
    good=good,
    bad=bad,
    score=score,
    margin=0.25,
    smoke=(
        *("--data.train", "faces:train:12", "--data.val", "null", "--trainer.monitor", "null"),
        *("--data.batch_size", "4", "--trainer.max_epochs", "4"),
    ),
    evaluate=("faces:test:2",),
)
