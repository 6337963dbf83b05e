"""Rebuilding the embedded default: its base, its adapter, what they reach, their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from domains.text_video_retrieval.data.sources import open_pairs
from domains.text_video_retrieval.evaluation.scoring import score
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.model.bases import DOMAIN
from domains.text_video_retrieval.tiny.base import write_base
from suite import hub
from suite.training import ExperimentConfig, embedded

TEST = "world:test:400"


def measure(adapter: str, base: str = "tiny", source: str = TEST, *, frozen: bool = False) -> dict[str, Any]:
    """What an adapter reaches on clips that nothing was chosen by, or its base without it."""
    encoder = Encoder.from_pretrained(adapter, base)
    return score(encoder.bare() if frozen else encoder, open_pairs(source, split="test")).metrics()


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> dict[str, Any]:
    """Train by the shipped configuration; return what it reaches."""

    def measured(config: ExperimentConfig, adapter: Path) -> dict[str, Any]:
        return {
            "adapted": measure(str(adapter.resolve()), base),
            "frozen": measure(str(adapter.resolve()), base, frozen=True),
        }

    return embedded.train_adapter(
        folder,
        DOMAIN,
        "tiny.yaml",
        run_dir,
        measure=measured,
        card=lambda config, figures: adapter_card(config, figures),
        base=base,
        seed=seed,
    )


def adapter_card(config: ExperimentConfig, figures: dict[str, Any]) -> str:
    """The README of the adapter."""
    reached, before = (_said(figures[name]) for name in ("adapted", "frozen"))
    count = config.data["train"].rsplit(":")[-1]
    text = f"""\
TempMe on the tiny base: one LoRA for the query, key and value of each attention, and temporal positions in two merge
layers. Four frames of 65 tokens leave the image tower as one clip of 39 tokens. It finds made clips by what is in them
and by which of two events comes first, which its base has never seen. It is meant for tests and demonstrations: real
videos are none of its business, and it tells shapes worse than colours, and a move from the opposite one hardly.

- Data: {count} clips of the made world (`{config.data["train"]}`).
- Training: `suite text_video_retrieval train --config configs/text_video_retrieval/tiny.yaml`, on CPU, no GPU; the
  weights were chosen on `{config.data["val"]}`.
- Reached on {TEST}, where each clip stands beside the one that is most like it (the two events in the other order, or
  the opposite action), text to video: {reached};
  the frozen base, frame by frame: {before}.
- Use: `suite text_video_retrieval index FOLDER` and `suite text_video_retrieval search "..."`
- Rebuild: `python -m domains.text_video_retrieval.tiny --part adapter`
"""
    head = {"library_name": "peft", "base_model": "text_video_retrieval/tiny"}
    return embedded.card("The tiny adapter of text-to-video retrieval", text, head)


def _said(figures: dict[str, Any]) -> str:
    recall = figures["text_to_video"]
    shown = ", ".join(f"{name} {recall[name]:.1f}" for name in ("R@1", "R@5", "R-Sum"))
    return f"{shown}, the order of events told apart in {figures['order_of_events']:.1f} %"


def rebuild(part: Literal["all", "base", "adapter"] = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs a new adapter.
        run_dir: where training leaves its run, and pre-training its weights on the way.
    """
    home = embedded.home(DOMAIN)
    if part in ("all", "base"):
        run_dir.mkdir(parents=True, exist_ok=True)
        write_base(home / "base", kept=run_dir / "clip.safetensors")
        embedded.record(home / "base", DOMAIN, kind="base")
    if part in ("all", "adapter"):
        figures = write_adapter(home / "adapter", run_dir / "text_video_retrieval")
        reached = round(figures["adapted"]["text_to_video"]["R@1"], 1)
        metric = hub.Metric("R@1", reached, f"{TEST}, held-out made clips")
        embedded.record(home / "adapter", DOMAIN, method="tied_lora", base="tiny", metric=metric)
