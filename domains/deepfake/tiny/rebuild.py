"""Rebuilding the embedded default: its base, its adapter, what they reach, their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessor

from domains.deepfake import metrics
from domains.deepfake.data.sources import open_set
from domains.deepfake.evaluation.calibrate import calibrate
from domains.deepfake.evaluation.scoring import Answers, answers
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.model.bases import DOMAIN
from domains.deepfake.tiny import pretraining
from suite import hub
from suite.clip.pictures import MEAN, STD
from suite.training import ExperimentConfig, embedded
from suite.training.plain import Schedule

TEST, UNSEEN = "faces:test:160", "faces:unseen:160"
"""Clips that nothing was chosen by."""
CALIBRATION, JUDGED = "faces:calibration:1920:2", "faces:test:1920:2"
"""Clips that fit the temperature, and clips that judge it. A clip's frames are alike: of 640 clips a temperature is
uncertain by 0.09, and of 160 a calibration error by 0.01, which is more than the temperature changes it by."""


def write_base(folder: Path, schedule: Schedule = pretraining.SCHEDULE, people: int = pretraining.PEOPLE) -> None:
    """Pre-train the base and save it."""
    pool = pretraining.Pool(pretraining.faces(people))
    tower = pretraining.pretrain(pool, pretraining.new(schedule.seed), schedule)
    side = tower.config.image_size
    crop = {"height": side, "width": side}
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop, image_mean=MEAN, image_std=STD)

    def save(empty: Path) -> None:
        tower.save_pretrained(empty)
        processor.save_pretrained(empty)

    embedded.write_base(folder, save, base_card(schedule, people))


def base_card(schedule: Schedule, people: int) -> str:
    """The README of the base."""
    text = f"""\
A small `CLIPVisionModel`: aligned faces of 64 pixels in patches of 8 through four layers of width 96. Pre-trained on
{people:,} made portraits to tell, of each patch, its colour and the energies of small filters (after MaskFeat), and, of
the picture, who is to be seen and whether it is blurred, noisy or coarse as a whole. It has seen no forgery.

- Data: made at run time by `domains/deepfake/data/world.py` and `suite/media/portraits.py`; people of no split.
- Training: {schedule.steps} steps of {schedule.batch} pictures, AdamW, cosine, 28 of 64 patches left out in most steps;
  one CPU core, fp32, no GPU.
- Rebuild: `python -m domains.deepfake.tiny --part base`
"""
    return embedded.card("The tiny vision tower of faces", text, {"library_name": "transformers"})


def measure(adapter: str, base: str | None = None, source: str = TEST) -> dict[str, Any]:
    """AUROC of videos, of all and of each family of forgeries."""
    scorer, frames = FaceScorer.from_pretrained(adapter, base), open_set(source)
    found = answers(scorer, frames, 64)

    def auroc(part: Answers) -> float | None:
        return metrics.auroc(*part.levels(scorer.stated.temperature)["video"])

    return {
        "auroc": auroc(found),
        "families": {name: auroc(found.only(set(own))) for name, own in frames.groups.items()},
    }


def calibration(adapter: str, base: str | None = None, source: str = JUDGED) -> dict[str, float]:
    """Calibration error and cross-entropy of frames that fitted nothing, before the stated temperature and after."""
    scorer = FaceScorer.from_pretrained(adapter, base)
    found = answers(scorer, open_set(source), 64)
    told = {}
    for name, temperature in (("before", 1.0), ("after", scorer.stated.temperature)):
        scores = found.scores(temperature)
        told[f"ece_{name}"] = metrics.expected_calibration_error(scores, found.labels)
        told[f"nll_{name}"] = metrics.cross_entropy(scores, found.labels)
    return told


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> dict[str, Any]:
    """Train by the shipped configuration, calibrate on its validation clips; return what it reaches."""

    def measured(config: ExperimentConfig, adapter: Path) -> dict[str, Any]:
        where = str(adapter.resolve())
        calibrate(CALIBRATION, adapter=where, base=base)
        judged = calibration(where, base)
        return {"test": measure(where, base), "unseen": measure(where, base, UNSEEN), "calibration": judged}

    return embedded.train_adapter(
        folder, DOMAIN, "tiny.yaml", run_dir, measure=measured, card=adapter_card, base=base, seed=seed
    )


def adapter_card(config: ExperimentConfig, figures: dict[str, Any]) -> str:
    """The README of the adapter."""
    test, unseen, told = figures["test"], figures["unseen"], figures["calibration"]
    text = f"""\
CLIP's LayerNorm-tuning on the tiny tower of faces: the scales and shifts of ten norms, and a head. It tells made people
from forged ones, by families of forgeries that it was trained on. It is meant for tests and demonstrations: it knows
nothing of real pictures.

- Data: `{config.data["train"]}` of the made world, {config.data["frames"]} frames a clip.
- Training: `suite deepfake train --config configs/deepfake/tiny.yaml`, on CPU, no GPU; the weights were chosen on
  `{config.data["val"]}`, the scores calibrated on `{CALIBRATION}`.
- Reached on {TEST}: video AUROC {test["auroc"]:.3f} ({_each(test)}).
- Reached on {UNSEEN}, families that it never saw: {unseen["auroc"]:.3f} ({_each(unseen)}).
- On frames of {JUDGED}: calibration error {told["ece_before"]:.4f} before calibration, {told["ece_after"]:.4f} after;
  cross-entropy {told["nll_before"]:.4f} and {told["nll_after"]:.4f}.
- Use: `suite deepfake predict FILE`
- Rebuild: `python -m domains.deepfake.tiny --part adapter`
"""
    head = {"library_name": "peft", "base_model": "deepfake/tiny"}
    return embedded.card("The tiny adapter of deepfake detection", text, head)


def _each(figures: dict[str, Any]) -> str:
    return ", ".join(f"{family} {value:.2f}" for family, value in figures["families"].items())


def rebuild(part: embedded.Part = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs a new adapter.
        run_dir: where training leaves its run.
    """

    def adapter(folder: Path) -> hub.Metric:
        figures = write_adapter(folder, run_dir / DOMAIN)
        return hub.Metric("video AUROC", round(figures["test"]["auroc"], 3), f"{TEST}, held-out made clips")

    embedded.rebuild(DOMAIN, part, base=write_base, adapter=adapter, method="ln_tuning")
