"""Relation extraction's side of the contract that every domain keeps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domains.relation_extraction.data import world
from domains.relation_extraction.tiny import rebuild as tiny
from tests.domains.contract import Subject

DOCUMENTS = 6
"""Held-out documents that the shipped adapters are scored on; the domain's own tests take many more."""


def _good(folder: Path) -> Path:
    [document] = world.documents("test", seed=3, count=1)
    return _written(folder / "report.txt", document.text)


def _bad(folder: Path) -> Path:
    return _written(folder / "numbers.txt", "1895, 1903 - 1911.\n")


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@cache
def _figures(adapter: str) -> dict[str, float]:
    return tiny.measure(adapter, count=DOCUMENTS)


def _score(adapter: str | None) -> float:
    """Micro-F1 of triples; the frozen base is asked the very same way, with the adapters off."""
    return _figures("tiny")["frozen"] if adapter is None else _figures(adapter)["adapted"]


SUBJECT = Subject(
    domain="relation_extraction",
    good=_good,
    bad=_bad,
    score=_score,
    margin=0.4,
    config="relation_extraction/smoke.yaml",
    smoke=(
        *("--data.train", "tiny:train:6", "--data.val", "tiny:val:1", "--data.batch_size", "1"),
        *("--trainer.max_steps", "8"),
    ),
    # What twenty steps have taught may say anything at any length.
    options=("--max-relations", "2", "--max-heads", "2", "--max-new-tokens", "48"),
    evaluate=("tiny:test:1", "--component", "relation"),
)
