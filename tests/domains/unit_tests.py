"""Unit tests' side of the contract that every domain keeps."""

from __future__ import annotations

from pathlib import Path

from domains.unit_tests.data.sources import made_repositories
from suite import hub, training
from tests.domains.contract import Subject


def _good(folder: Path) -> Path:
    """A held-out function in a file of its own."""
    repositories, _ = made_repositories("world:test", seed=5)
    return _written(folder / "shop.py", next(repositories).modules[0].functions[0].source)


def _bad(folder: Path) -> Path:
    return _written(folder / "broken.py", "def f(:\n    return 1\n")


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _score(adapter: str | None) -> float:
    """How likely the tests of held-out functions are, as the loss; how many of its own pass is measured elsewhere."""
    folder = None if adapter is None else hub.resolve(adapter, "unit_tests", kind="adapter")
    return -training.evaluate(SUBJECT.experiment(), folder)["val/loss"]


SUBJECT = Subject(
    domain="unit_tests",
    good=_good,
    bad=_bad,
    score=_score,
    margin=0.3,
    smoke=(
        *("--data.train", "world:train:40", "--data.val", "world:validation:6", "--data.batch_size", "2"),
        *("--trainer.max_epochs", "-1", "--trainer.max_steps", "20", "--trainer.val_every", "12"),
    ),
    # What twenty steps have taught passes no test; running tests has tests of its own.
    options=("--no-run", "--samples", "1", "--max-new-tokens", "48", "--temperature", "0"),
    evaluate=("world:test:1", "--alone", "--max-new-tokens", "24"),
)
