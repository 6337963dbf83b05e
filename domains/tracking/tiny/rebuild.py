"""Rebuilding the embedded default: its base, its adapter, what they reach, their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domains.tracking.data.sources import open_set
from domains.tracking.evaluation.runs import followed
from domains.tracking.evaluation.success import score
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.model.bases import DOMAIN
from domains.tracking.tiny import pretraining
from suite import hub
from suite.training import ExperimentConfig, embedded
from suite.training.plain import Schedule

TEST = "world:test:24"
"""Sequences whose figures and motions neither pre-training nor training has seen."""


def write_base(
    folder: Path,
    schedules: tuple[Schedule, Schedule] = (pretraining.SCHEDULE, pretraining.BOUNDS),
    scenes: int = pretraining.SCENES,
    progress_file: Path | None = None,
) -> None:
    """Pre-train the base and save it.

    Args:
        progress_file: where it is kept how far the training is, so that it goes on after a stop.
    """
    vit = pretraining.pretrained(pretraining.pairs(scenes), schedules, progress_file)
    embedded.write_base(folder, vit.save_pretrained, base_card(schedules, scenes))


def base_card(schedules: tuple[Schedule, Schedule], scenes: int) -> str:
    """The README of the base."""
    first, second = schedules
    text = f"""\
A small `Dinov2Model`: pictures of {pretraining.SIDE} pixels in patches of {pretraining.PATCH} through
{pretraining.DEPTH} blocks of width {pretraining.WIDTH}. Pre-trained without labels on pairs of views of {scenes:,} made
still scenes: patches of one view are to be those of the other that show the same, hidden patches are to be predicted,
and later patches are also to say how far the other view reaches. Nothing moves in the scenes, and their kinds of
figures are in no sequence.

- Data: made at run time by `domains/tracking/data/world.py`.
- Training: {first.steps:,} and {second.steps:,} steps of {first.batch} pairs, AdamW, a cosine each,
  {pretraining.HIDDEN:.0%} of a view's patches hidden; one CPU core, fp32, no GPU.
- Rebuild: `python -m domains.tracking.tiny --part base`
"""
    return embedded.card("The tiny DINOv2 of tracking", text, {"library_name": "transformers"})


def measure(adapter: str, base: str | None = None, source: str = TEST) -> dict[str, float]:
    """One-pass success AUC, precision and GOT-10k's average overlap of an adapter on made sequences."""
    return reached(LoadedTracker.from_pretrained(adapter, base, device="cpu", dtype="float32"), source)


def reached(loaded: LoadedTracker, source: str = TEST) -> dict[str, float]:
    """The same of a tracker."""
    found = open_set(source)
    tracked = [followed(loaded.session(views=False), sequence) for sequence in found.sequences]
    return score("tiny", found, tracked).figures()


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> dict[str, Any]:
    """Train by the shipped configuration; return what it reaches."""

    def measured(config: ExperimentConfig, adapter: Path) -> dict[str, Any]:
        return {"test": measure(str(adapter.resolve()), base)}

    return embedded.train_adapter(
        folder, DOMAIN, "tiny.yaml", run_dir, measure=measured, card=adapter_card, base=base, seed=seed
    )


def adapter_card(config: ExperimentConfig, figures: dict[str, Any]) -> str:
    """The README of the adapter."""
    reached = figures["test"]
    text = f"""\
SPMTrack's TMoE, rank 8 with four experts, on the tiny DINOv2, with its head and embeddings, for figures of the made
world. It is meant for tests and demonstrations and was trained for minutes; the figures below say how far it follows.

- Data: `{config.data["train"]}` of the made world.
- Training: `suite tracking train --config configs/tracking/tiny.yaml`, on CPU, no GPU; the last weights were kept.
- Reached on {TEST}, other figures and motions: success AUC {reached["auc"]:.3f}, precision {reached["precision"]:.3f},
  average overlap {reached["ao"]:.3f}.
- Use: `suite tracking predict VIDEO --box x,y,w,h`
- Rebuild: `python -m domains.tracking.tiny --part adapter`
"""
    head = {"library_name": "peft", "base_model": "tracking/tiny"}
    return embedded.card("The tiny adapter of tracking", text, head)


def rebuild(part: embedded.Part = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs a new adapter.
        run_dir: where training leaves its run; a base whose pre-training was stopped goes on from there.
    """

    def base(folder: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_base(folder, progress_file=run_dir / f"{DOMAIN}_base.safetensors")

    def adapter(folder: Path) -> hub.Metric:
        figures = write_adapter(folder, run_dir / DOMAIN)
        return hub.Metric("success AUC", round(figures["test"]["auc"], 3), f"{TEST}, held-out made sequences")

    embedded.rebuild(DOMAIN, part, base=base, adapter=adapter, method="tmoe")
