"""Personalized diffusion's side of the contract that every domain keeps."""

from __future__ import annotations

from pathlib import Path

from tests.domains.contract import Subject


def good(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("a sks robot in the snow\n")
    return path


def bad(folder: Path) -> Path:
    path = folder / "broken.jsonl"
    path.write_text('{"prompt": "a sks robot", "seed": "seven"}\n')
    return path


def score(adapter: str | None) -> float:
    """Likeness of generated pictures to held-out pictures of the subject, by the tiny image encoder."""
    from domains.personalized_diffusion.evaluation.evaluate import evaluate

    found = evaluate(adapter=adapter or "tiny", frozen=adapter is None, images=1, steps=15)
    return found["metrics"]["dino"]


SUBJECT = Subject(
    domain="personalized_diffusion",
    good=good,
    bad=bad,
    score=score,
    margin=0.1,
    smoke=(
        *("--data.class_images", "2", "--data.class_steps", "2", "--data.batch_size", "1"),
        *("--trainer.max_steps", "24"),
    ),
    options=("--images", "1", "--steps", "4"),
    evaluate=("--images", "1", "--steps", "2"),
)
