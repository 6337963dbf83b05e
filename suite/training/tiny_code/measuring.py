"""What the code model knows: of functions of the kinds that it learned from, none of which it has seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from suite.code.pretraining import APPROVED, CHOICE, Document, documents
from suite.training.tiny_code.pretraining import collate, encode


@dataclass(frozen=True)
class Figures:
    """What the model reaches on documents that it has not seen.

    Attributes:
        loss: mean cross-entropy of a token, weighted as in training.
        values: share of asserted values that greedy completion gives exactly, by kind of function; `""` of
            expressions.
        mended: share of functions that greedy completion mends, or leaves as they are, exactly, given the comment.
        approval: AUROC of the probability that a review says a change is right.
    """

    loss: float
    values: dict[str, float]
    mended: float
    approval: float

    @property
    def mean_value(self) -> float:
        """Of the kinds of functions, without expressions."""
        kinds = [share for kind, share in self.values.items() if kind]
        return sum(kinds) / len(kinds)


@torch.no_grad()
def measure(model: nn.Module, tokenizer: Any, count: int = 1500, seed: int = 1, batch: int = 16) -> Figures:
    """Measure a model on documents of the split `test`.

    A greedy completion is exact where every one of its tokens is the most probable after those before it, so that one
    forward pass tells.
    """
    found = list(islice(documents(seed, "test"), count))
    encoded = [encode(tokenizer, one) for one in found]
    order = sorted(range(count), key=lambda number: len(encoded[number][0]))
    total = weight = 0.0
    values: dict[str, list[bool]] = defaultdict(list)
    mended: list[bool] = []
    for start in range(0, count, batch):
        chosen = order[start : start + batch]
        rows = collate([encoded[number] for number in chosen])
        logits = model(input_ids=rows["input_ids"]).logits  # (rows, length, vocabulary)
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), rows["labels"], reduction="none")
        total += float((losses * rows["weights"]).sum())
        weight += float(rows["weights"].sum())
        hits = logits.argmax(-1) == rows["labels"]
        for number, hit, weights in zip(chosen, hits, rows["weights"], strict=True):
            one = found[number]
            if one.sort in ("tested", "called", "expressions"):
                kind = "" if one.sort == "expressions" else one.kind
                values[kind] += [bool(hit[run].all()) for run in _runs(weights == CHOICE)]
            elif one.sort == "mended":
                answer = len(tokenizer.backend_tokenizer.encode(one.parts[-1][0]).ids)
                end = len(encoded[number][0]) - 1  # behind the end token
                mended.append(bool(hit[end - 1 - answer : end].all()))
    shares = {kind: sum(right) / len(right) for kind, right in sorted(values.items())}
    reviews = [one for one in found if one.sort == "reviewed"]
    approved = torch.tensor([int(one.approved) for one in reviews])
    approval = float(binary_auroc(_approvals(model, tokenizer, reviews).exp(), approved))
    return Figures(total / weight, shares, sum(mended) / len(mended), approval)


def _runs(where: Tensor) -> Iterator[slice]:
    """The stretches of a vector in which it is true."""
    start = None
    for place, inside in enumerate([*where.tolist(), False]):
        if inside and start is None:
            start = place
        elif not inside and start is not None:
            yield slice(start, place)
            start = None


def _approvals(model: nn.Module, tokenizer: Any, reviews: Sequence[Document]) -> Tensor:
    """The log-probability, of each review's document, that the reviewer finds nothing wrong: `(reviews,)`."""
    found = []
    for one in reviews:
        prompt, answer = (tokenizer.backend_tokenizer.encode(text).ids for text in (one.before_review, APPROVED))
        ids = torch.tensor([[tokenizer.bos_token_id, *prompt, *answer]])
        logits = model(input_ids=ids[:, :-1]).logits[0, -len(answer) :]
        found.append(logits.log_softmax(-1).gather(1, ids[0, -len(answer) :, None]).sum())
    return torch.stack(found)
