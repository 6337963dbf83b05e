"""From made documents to a small `LlamaForCausalLM` of code: next-token prediction with a weighted loss."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from suite.code.pretraining import BROAD, Document, documents
from suite.training.muon import optimizers_of
from suite.training.plain import minimise


@dataclass(frozen=True)
class Phase:
    """A part of pretraining.

    Attributes:
        steps: optimiser steps.
        seed: of the documents. shares: how often each sort of them is drawn.
        lr: peak rate of the matrices (Muon). embedding_lr: of everything else (AdamW).
        warmup: steps. falling: the part of the steps, at the end, over which the rate falls linearly to zero.
        tokens: about, in each step.
    """

    steps: int
    seed: int
    shares: Mapping[str, float] = field(default_factory=lambda: BROAD)
    lr: float = 3e-3
    embedding_lr: float = 1.5e-3
    warmup: int = 40
    falling: float = 0.0
    tokens: int = 3072

    def rate(self, step: int, peak: float) -> float:
        """The learning rate of a step."""
        falling = (self.steps - step) / (self.falling * self.steps) if self.falling else 1.0
        return peak * min(1.0, (step + 1) / self.warmup, falling)


def encode(tokenizer: Any, document: Document) -> tuple[list[int], list[float]]:
    """A document as tokens between those of beginning and end, and the weight of each one's loss.

    The text is encoded whole: its tokens are those that a prompt with the same text has.
    """
    encoded = tokenizer.backend_tokenizer.encode(document.text, add_special_tokens=False)
    ends = torch.tensor([len(text) for text, _ in document.parts]).cumsum(0)
    last = torch.tensor([end - 1 for _, end in encoded.offsets])
    parts = torch.searchsorted(ends, last, right=True).tolist()
    weights = [document.parts[part][1] for part in parts]
    return [tokenizer.bos_token_id, *encoded.ids, tokenizer.eos_token_id], [0.0, *weights, 1.0]


def batches(tokenizer: Any, phase: Phase, pool: int = 512) -> Iterator[dict[str, Tensor]]:
    """Endless batches of a phase, documents of similar length together; made one pool ahead in a thread.

    Yields:
        `input_ids`, `labels` (already shifted: the token that each position predicts) and `weights` of the loss, all
        `(rows, length)`; padding has weight 0.
    """
    source, rng = documents(phase.seed, shares=phase.shares), random.Random(phase.seed)

    def fill() -> list[dict[str, Tensor]]:
        rows = sorted((encode(tokenizer, one) for one in islice(source, pool)), key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows:
            if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > phase.tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        return [collate(group) for group in groups]

    with ThreadPoolExecutor(1) as worker:
        ahead = worker.submit(fill)
        while True:
            ready, ahead = ahead.result(), worker.submit(fill)
            yield from ready


def collate(rows: Sequence[tuple[list[int], list[float]]]) -> dict[str, Tensor]:
    """Pad rows on the right to one batch; see `batches`."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in rows])
    weights = torch.tensor([weights + [0.0] * (length - len(weights)) for _, weights in rows])
    return {"input_ids": ids[:, :-1], "labels": ids[:, 1:], "weights": weights[:, 1:]}


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Weighted cross-entropy; the output layer runs only where there is a loss."""
    # Padding is on the right, so that no token sees it: the causal mask is enough.
    hidden = model.model(input_ids=batch["input_ids"]).last_hidden_state  # (rows, length, width)
    where = batch["weights"] > 0
    losses = nn.functional.cross_entropy(model.lm_head(hidden[where]), batch["labels"][where], reduction="none")
    weights = batch["weights"][where]
    return (losses * weights).sum() / weights.sum()


def pretrain(
    model: nn.Module,
    tokenizer: Any,
    phase: Phase,
    notify: Callable[[str], None] = print,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Train all weights through one phase: matrices by Muon, embeddings and norms by AdamW.

    Args:
        after: called after every step.
    """
    optimizers, others = optimizers_of(model, phase.lr, phase.embedding_lr)
    stream, seen = batches(tokenizer, phase), 0

    def next_loss() -> Tensor:
        nonlocal seen
        batch = next(stream)
        seen += batch["input_ids"].numel()
        return loss(model, batch)

    def told(step: int, value: float, seconds: float) -> None:
        notify(f"step {step}/{phase.steps}: loss {value:.3f}, {seen / seconds:,.0f} tokens/s, {seconds:.0f} s")

    model.train()
    minimise(next_loss, optimizers, phase.rate, phase.steps, clipped=others, told=told, every=20, after=after)
    model.eval()
