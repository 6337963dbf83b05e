"""The code model, rebuilt by one command: its tokenizer, its weights, its card, its entries in the catalogue.

python -m suite.training.tiny_code
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from suite.code import tiny, world
from suite.code.faults import FAULTS
from suite.code.pretraining import CRITICAL
from suite.training import embedded
from suite.training.induction import write_induction
from suite.training.tiny_code.measuring import Figures, measure
from suite.training.tiny_code.pretraining import Phase, pretrain

DOMAINS = ("code_review", "unit_tests")
"""Whose `tiny` the base is."""

SEED = 0
PHASES = (
    Phase(950, seed=0),
    # By now most is copied and computed well; what is left is to judge a change.
    Phase(850, seed=2, shares=CRITICAL, lr=2.5e-3, embedding_lr=1.25e-3, falling=0.8),
)
_MINUTES = "25 minutes of its time"


def write_base(folder: Path, phases: Sequence[Phase] = PHASES, measured: int = 1500) -> Figures:
    """Pretrain the base, save it in 16 bit as the folder that `from_pretrained` reads, and return what it reaches.

    Args:
        measured: documents that it is measured on.
    """
    tokenizer = tiny.tokenizer()
    model = untrained(len(tokenizer))
    for phase in phases:
        pretrain(model, tokenizer, phase)
    return save(folder, model, tokenizer, phases, measured)


def untrained(vocabulary: int, seed: int = SEED) -> Any:
    """The model as pretraining begins: able to copy (see `suite/training/induction.py`)."""
    model = tiny.untrained(vocabulary, seed)
    write_induction(model, torch.Generator().manual_seed(seed))
    return model


def save(folder: Path, model: Any, tokenizer: Any, phases: Sequence[Phase], measured: int = 1500) -> Figures:
    """Put a model into `folder`, whole or not at all, with a card of what it reaches as it is stored."""
    model.to(torch.float16)
    figures = measure(model.float().eval(), tokenizer, measured)

    def write(folder: Path) -> None:
        model.to(torch.float16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    embedded.write_base(folder, write, card(model.num_parameters(), len(tokenizer), phases, figures))
    return figures


def rebuild() -> None:
    """Rebuild the base in place, and its entries in the catalogue; adapters of the old one then need training anew."""
    folder = embedded.home("code") / "base"
    write_base(folder)
    record(folder)


def record(folder: Path, domains: Sequence[str] = DOMAINS) -> None:
    """Put the base into the catalogue, once for each domain."""
    for domain in domains:
        embedded.record(folder, domain, kind="base")


def card(parameters: int, vocabulary: int, phases: Sequence[Phase], figures: Figures) -> str:
    """The README of the base."""
    faults, others = FAULTS["seen"], len(FAULTS["held out"])
    kinds, further = len(world.stated("seen")), len(world.stated("held out"))
    steps = " + ".join(f"{phase.steps:,}" for phase in phases)
    worst = sorted((share, kind) for kind, share in figures.values.items() if kind)[:4]
    hardest = ", ".join(f"{kind} {share:.0%}" for share, kind in worst)
    text = f"""\
A `LlamaForCausalLM` with {parameters / 1e6:.1f} million parameters, stored in 16 bit, and a byte-level BPE tokenizer of
{vocabulary:,} tokens. It is the embedded base of two domains, code review and unit tests: `tiny` in either. It has read
made Python code alone, and is meant as the base of their adapters, of tests and of demonstrations.

- Data: made at run time by `suite/code` from `world.yaml`; nothing was downloaded. Functions of {kinds} kinds over
  numbers, words, lists and dicts, their test files and calls, values of expressions, diffs with reviews, functions with
  a comment and mended. Reviews name faults of {len(faults)} kinds ({", ".join(faults)}).
  {further} further kinds of functions and {others} of faults are held out, for adapters to learn and to be measured on;
  none of their prompts is among the documents.
- Training: next-token prediction, {steps} steps of about {phases[0].tokens:,} tokens; Muon and AdamW; the first
  two layers start with heads that copy (`suite/training/induction.py`). One core in fp32, no GPU, {_MINUTES}.
- Measured on functions that training did not show, of the kinds that it did: weighted loss {figures.loss:.3f} a token;
  asserted values that greedy completion gives exactly, mean over kinds, {figures.mean_value:.1%} (hardest: {hardest}),
  of expressions {figures.values[""]:.1%}; functions mended exactly, given the comment, {figures.mended:.1%};
  a change is told right from faulty with AUROC {figures.approval:.3f}.
- Rebuild: `python -m suite.training.tiny_code`; it gives a base of the same kind, not the same bits.
  (Of the shipped one, the first phase was planned longer and stopped, and met some faults more rarely.)
"""
    head = {"language": "code", "library_name": "transformers", "pipeline_tag": "text-generation"}
    return embedded.card("The tiny base of code review and unit tests", text, head)
