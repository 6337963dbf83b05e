"""What the contract test must know of music."""

from __future__ import annotations

from pathlib import Path

from suite import hub, training
from suite.files import write_text
from suite.hub import paths
from tests.domains.contract import Subject


def good(folder: Path) -> Path:
    return write_text(folder / "numbers.txt", "0 1 2 3")


def bad(folder: Path) -> Path:
    return write_text(folder / "words.txt", "no numbers")


def score(adapter: str | None) -> float:
    """Accuracy on held-out rows."""
    config = training.load_config(paths.assets() / "configs" / "music" / "tiny.yaml")
    folder = None if adapter is None else hub.resolve(adapter, "music")
    return training.evaluate(config, folder)["val/accuracy"]


SUBJECT = Subject(
    domain="music",
    good=good,
    bad=bad,
    score=score,
    margin=0.3,
    evaluate=("--frozen",),
    shipped=None,
    blocks=False,
)
