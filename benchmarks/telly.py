"""What a step of Telly costs beside full fine-tuning: time, and memory that is kept for the backward.

    python -m benchmarks.telly [--save] [--repeats 5]

UniXcoder's size with random weights and the head for defects, eight commits of 32 tokens, one thread: forward, backward
and an AdamW step, in interleaved rounds. The paper reports 37 % of the time of an epoch for K = 11 (arXiv 2304.05216);
what is kept is counted in bytes of tensors that the backward needs, gradients and optimiser states beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import RobertaConfig, RobertaModel

from benchmarks._measured import Target, compared, keep, kept_bytes, rounds, verdict
from domains.code_review.model.attachments import PRESETS, attach_section
from domains.code_review.model.change_bases import with_head
from domains.code_review.model.commit_classifier import HEAD
from suite.adapters.section import AdapterSection

BATCH, LENGTH = 8, 32
DEPTHS = ("full", "telly-k0", "telly-k6", "telly-k11")


def classifier(preset: str) -> Any:
    """UniXcoder's shapes with a head, random, with what the preset trains."""
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=51416, max_position_embeddings=1026, type_vocab_size=10)
    model = with_head(RobertaModel(config), "single").requires_grad_(False)
    return attach_section(model, AdapterSection.of({"preset": preset}, PRESETS), HEAD).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/telly.json")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ids = torch.randint(3, 50000, (BATCH, LENGTH))
    mask, defective = torch.ones_like(ids), torch.arange(BATCH) % 2
    models = {preset: classifier(preset) for preset in DEPTHS}

    def loss(model: Any) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(model(ids, mask), defective.float())

    def step(model: Any) -> Callable[[], None]:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-6)

        def run() -> None:
            loss(model).backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    kept = {preset: kept_bytes(model, lambda model=model: loss(model)) for preset, model in models.items()}
    seconds = rounds({preset: step(model) for preset, model in models.items()}, given.repeats)
    ratios = compared(seconds, [Target("telly-k11", "full", 0.6), Target("telly-k6", "full", 0.85)])
    states = {
        preset: 3 * sum(p.nbytes for p in model.parameters() if p.requires_grad) for preset, model in models.items()
    }
    for preset in ("telly-k6", "telly-k11"):
        ratios.append(verdict(f"{preset}: kept for the backward / full", kept[preset] / kept["full"], 0.6))
        share = states[preset] / states["full"]
        ratios.append(verdict(f"{preset}: gradients and states / full", share, 0.35))
    if given.save:
        keep("telly", given.repeats, seconds, ratios=ratios, kept_bytes=kept)


if __name__ == "__main__":
    main()
