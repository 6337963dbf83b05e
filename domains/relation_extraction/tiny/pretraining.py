"""Pretraining of the embedded base: from made documents to a `LlamaForCausalLM` that follows the `suite-v1` protocol.

All calls on one document are trained in ONE row: the passage stands there once, every call sees the passage and itself
(a block mask), and its positions go on where the passage ends. The result is what separate samples would give, at a
third of the tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from domains.relation_extraction.data import world
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.protocol import Protocol
from suite.generation.chat import IGNORED
from suite.training.muon import optimizers_of
from suite.training.plain import minimise

PROTOCOL = "suite-v1/D_R_H_F_desc"

_PASSAGE_WEIGHT = 0.1  # loss weight of passage tokens: mostly invented names, which nobody can predict
_MOST_CALLS = 14  # of one row; more are drawn at random, so that long rows stay affordable


@dataclass(frozen=True)
class Phase:
    """A part of pretraining.

    Attributes:
        steps: optimiser steps.
        seed: of the documents.
        short: share of passages with one fact or two.
        filler: share of frames made of random words.
        choice_weight: loss weight of the tokens that choose a name rather than go on copying it.
        decay: part of the phase, at its end, over which the learning rate falls linearly to zero.
    """

    steps: int
    seed: int
    short: float = 0.0
    filler: float = 0.0
    choice_weight: float = 1.0
    decay: float = 0.0

    def rate(self, step: int, peak: float) -> float:
        """The learning rate of a step: warm-up over 40 steps, `peak`, and at the end down to zero."""
        falling = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return peak * min(1.0, (step + 1) / 40, falling)


@dataclass(frozen=True)
class PackedRow:
    """One document with calls on it.

    Attributes:
        ids: passage, then prompt and answer of each call.
        labels: `IGNORED` on the prompts.
        blocks: 0 for the passage, 1, 2, … for the calls.
        positions: each call starts at the passage's end.
        weights: of the loss of each label.
    """

    ids: list[int]
    labels: list[int]
    blocks: list[int]
    positions: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Passage:
    """A text and its facts as strings."""

    text: str
    facts: tuple[tuple[str, str, str], ...]


def passages(seed: int, short: float = 0.0, filler: float = 0.0) -> Iterator[Passage]:
    """Endless pretraining passages; some are several documents long, some in the space-joined shape of DocRED.

    Args:
        short: share of passages with one fact or two: they teach soonest which phrase states which relation.
        filler: share of frames made of random words.
    """
    rng = random.Random(f"passages/{seed}")
    number = 0
    while True:
        joined = rng.choice((2, 3, 4)) if rng.random() < 0.1 else 1
        sizes = {"facts": (1, 1, 2)} if short and joined == 1 and rng.random() < short else {}
        parts = world.documents("pretraining", seed=seed * 1_000_000 + number, count=joined, filler=filler, **sizes)
        number += 1
        text = " ".join(part.text for part in parts)
        if rng.random() < 0.15:
            text = re.sub(r" ?([,.;()]) ?", r" \1 ", text).strip()
        facts = [
            (part.entities[fact.head].names[0], fact.relation, part.entities[fact.tail].names[0])
            for part in parts
            for fact in part.facts
        ]
        yield Passage(text, tuple(facts))


def calls(passage: Passage, spoken: Protocol, rng: random.Random) -> list[tuple[Call, str]]:
    """All calls of Relation-Head-Facts on a passage with their answers, and one about a relation that is absent."""
    described = {relation.name: relation.description for relation in world.relations("pretraining")}
    present = list(dict.fromkeys(relation for _, relation, _ in passage.facts))
    absent = rng.choice([name for name in described if name not in present])
    found = [(Call("relation", passage.text), spoken.answer("relation", present))]
    for name in [*present, absent]:
        heads = list(dict.fromkeys(head for head, relation, _ in passage.facts if relation == name))
        asked = Call("subject", passage.text, relation=name, description=described[name])
        found.append((asked, spoken.answer("subject", heads)))
        for head in heads:
            triples = [fact for fact in passage.facts if fact[:2] == (head, name)]
            asked = Call("fact", passage.text, relation=name, description=described[name], head=head)
            found.append((asked, spoken.answer("fact", triples)))
    return found if len(found) <= _MOST_CALLS else [found[0], *rng.sample(found[1:], _MOST_CALLS - 1)]


def encode(tokenizer: Any, passage: Passage, rng: random.Random, choice_weight: float = 1.0) -> PackedRow:
    """Encode a passage and its calls as one row.

    Args:
        choice_weight: loss weight of the tokens that choose (see `chooses`); most others only go on copying.
    """
    spoken, template = protocol(PROTOCOL), chat_template("suite")
    shared = [tokenizer.bos_token_id, *template.encode(tokenizer, spoken.pieces(Call("relation", passage.text))[:1])]
    size = len(shared)
    row = PackedRow(list(shared), list(shared), [0] * size, list(range(size)), [_PASSAGE_WEIGHT] * size)
    names_choose = choice_weight != 1.0
    for block, (call, answer) in enumerate(calls(passage, spoken, rng), 1):
        prompt = template.encode(tokenizer, spoken.pieces(call)[1:])
        response = [*template.encode(tokenizer, (answer,)), tokenizer.eos_token_id]
        size = len(prompt) + len(response)
        chosen = chooses(tokenizer, response)
        step_weight = 2.0 if names_choose and call.step == "relation" else 1.0
        row.weights.extend([0.0] * len(prompt))
        row.weights.extend(step_weight * (choice_weight if choice else 1.0) for choice in chosen)
        row.ids.extend(prompt + response)
        row.labels.extend([IGNORED] * len(prompt) + response)
        row.blocks.extend([block] * size)
        row.positions.extend(range(len(shared), len(shared) + size))
    return row


def chooses(tokenizer: Any, response: Sequence[int]) -> list[bool]:
    """Whether each token of an answer opens a line or a quoted string, ends a line, or ends the answer."""
    texts = [tokenizer.decode([index]) for index in response]
    before = ["\n", *texts[:-1]]
    return [
        previous.endswith(("\n", "'")) or text == "\n" or index == tokenizer.eos_token_id
        for previous, text, index in zip(before, texts, response, strict=True)
    ]


def collate(rows: Sequence[PackedRow]) -> dict[str, Tensor]:
    """Pad rows to one batch.

    Returns:
        `input_ids`, `position_ids`, `labels` (already shifted: the token that each position predicts), `weights` of the
        loss, all `(rows, length)`, and `attention_mask` `(rows, 1, length, length)`, True where a query sees a key.
    """
    length = max(len(row.ids) for row in rows)

    def padded(values: list[list[int]], filler: int) -> Tensor:
        return torch.tensor([value + [filler] * (length - len(value)) for value in values])

    ids, labels = padded([row.ids for row in rows], 0), padded([row.labels for row in rows], IGNORED)
    blocks, positions = padded([row.blocks for row in rows], -1), padded([row.positions for row in rows], 0)
    shifted = torch.full_like(labels, IGNORED)
    shifted[:, :-1] = labels[:, 1:].masked_fill(blocks[:, 1:] != blocks[:, :-1], IGNORED)
    own, key = blocks[:, :, None], blocks[:, None, :]
    visible = ((own == key) | (key == 0)) & torch.ones(length, length, dtype=torch.bool).tril()
    weights = torch.zeros(labels.shape)
    weights[:, :-1] = torch.tensor([row.weights + [0.0] * (length - len(row.weights)) for row in rows])[:, 1:]
    weights *= shifted != IGNORED
    return dict(input_ids=ids, position_ids=positions, labels=shifted, weights=weights, attention_mask=visible[:, None])


def batches(tokenizer: Any, tokens: int, phase: Phase, pool: int = 256) -> Iterator[dict[str, Tensor]]:
    """Endless batches of about `tokens` tokens, rows of similar length together; made one pool ahead in a thread."""
    rng = random.Random(f"batches/{phase.seed}")
    source = passages(phase.seed, phase.short, phase.filler)

    def fill() -> list[dict[str, Tensor]]:
        rows = sorted(
            (encode(tokenizer, next(source), rng, phase.choice_weight) for _ in range(pool)),
            key=lambda row: len(row.ids),
        )
        groups: list[list[PackedRow]] = [[]]
        for row in rows:
            if groups[-1] and len(row.ids) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        return [collate(group) for group in groups]

    with ThreadPoolExecutor(1) as worker:
        ahead: Future[list[dict[str, Tensor]]] = worker.submit(fill)
        while True:
            ready, ahead = ahead.result(), worker.submit(fill)
            yield from ready


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Weighted cross-entropy; the output layer runs only where there is a loss."""
    hidden = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=batch["position_ids"]
    ).last_hidden_state
    where = batch["weights"] > 0
    losses = nn.functional.cross_entropy(model.lm_head(hidden[where]), batch["labels"][where], reduction="none")
    weights = batch["weights"][where]
    return (losses * weights).sum() / weights.sum()


def pretrain(
    model: LlamaForCausalLM,
    tokenizer: Any,
    phase: Phase,
    *,
    tokens: int = 3072,
    lr: float = 3e-3,
    embedding_lr: float = 1e-3,
    notify: Callable[[str], None] = print,
) -> None:
    """Train all weights through one phase, in steps of about `tokens` tokens.

    Matrices are trained by `Muon`, embeddings and norms by AdamW; the learning rate warms up over 40 steps.
    """
    optimizers, others = optimizers_of(model, lr, embedding_lr)
    stream, seen = batches(tokenizer, tokens, phase), 0

    def next_loss() -> Tensor:
        nonlocal seen
        batch = next(stream)
        seen += batch["input_ids"].numel()
        return loss(model, batch)

    def told(step: int, value: float, seconds: float) -> None:
        notify(f"step {step}/{phase.steps}: loss {value:.3f}, {seen / seconds:,.0f} tokens/s")

    model.train()
    minimise(next_loss, optimizers, phase.rate, phase.steps, clipped=others, told=told, every=20)
    model.eval()
