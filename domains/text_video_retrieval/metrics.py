"""Recall, median and mean rank of retrieval in both directions; every query has one rank, whatever ties with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from domains.text_video_retrieval.model.similarity import similarity

AT = (1, 5, 10, 50)
SUMMED = (1, 5, 10)
"""Of R-Sum, which is of one direction; at most 300."""


Ties = Literal["middle", "optimistic"]
"""Where a query stands among answers that score the same as its own: in their middle, or before them all."""

Median = Literal["average", "lower"]
"""Of an even number of ranks: the mean of the two in the middle, or the lower one."""


@dataclass(frozen=True)
class Ranks:
    """Where each query's right answer stands.

    Attributes:
        better: (Q,) answers that score more. tied: (Q,) that score the same, itself counted.
    """

    better: Tensor
    tied: Tensor
    ties: Ties = "middle"

    @property
    def ranks(self) -> Tensor:
        """(Q,) from 1, one for each query."""
        return 1 + self.better + ((self.tied - 1) / 2 if self.ties == "middle" else 0)

    def figures(self, median: Median = "average") -> dict[str, float]:
        """Recall at each of `AT` in percent, the sum of the first three (R-Sum), and the median and mean rank."""
        ranks = self.ranks.sort().values
        recalls = {f"R@{k}": float(100 * (ranks <= k).double().mean()) for k in AT}
        half = len(ranks) // 2
        middle = ranks[half] if len(ranks) % 2 else (ranks[half - 1] + ranks[half]) / 2
        if median == "lower":
            middle = ranks[(len(ranks) - 1) // 2]
        total = sum(recalls[f"R@{k}"] for k in SUMMED)
        return {**recalls, "R-Sum": total, "MdR": float(middle), "MnR": float(ranks.mean())}


def ranks_of(scores: Tensor, answers: Tensor, ties: Ties = "middle") -> Ranks:
    """Ranks of the right answers.

    Args:
        scores: (Q, A), more is nearer. answers: (Q,) the column that is right for each query.
        ties: where a query stands among answers that score the same.
    """
    scores = scores.double()
    own = scores.gather(1, answers[:, None])
    # Whatever is no number, a query's own included, stands behind all that are.
    own, others = own.nan_to_num(-torch.inf), scores.nan_to_num(-torch.inf)
    return Ranks((others > own).sum(1).double(), (others == own).sum(1).double(), ties)


def both_ways(scores: Tensor, videos: Sequence[int], ties: Ties = "middle") -> dict[str, dict[str, float]]:
    """The figures of text to video and of video to text.

    Args:
        scores: (T, V) of sentences and videos. videos: of each sentence, its video's column. A video of several
            sentences is found by the best of them (CLIP4Clip's multi-sentence protocol, with its lower median).
        ties: where a query stands among answers that score the same.
    """
    own = torch.as_tensor(list(videos))
    present = own.unique()  # videos without a sentence answer, and are not asked
    count = scores.shape[1]
    empty = torch.full((count, count), -torch.inf, dtype=scores.dtype)
    best = empty.scatter_reduce(0, own[:, None].expand(-1, count), scores, "amax")  # (sentences of, video)
    to_text = ranks_of(best[present][:, present].T, torch.arange(len(present)), ties)
    median: Median = "average" if len(present) == len(own) else "lower"
    return {
        "text_to_video": ranks_of(scores, own, ties).figures(median),
        "video_to_text": to_text.figures(),
    }


STATES = ("texts", "vectors", "numbers", "pairs")


class Recall(Metric):
    """R@1 over all pairs of a validation, in percent.

    Args:
        to_text: of video to text, instead of text to video.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, *, to_text: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.to_text = to_text
        for name in STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, texts: Tensor, vectors: Tensor, numbers: Tensor, pairs: Tensor) -> None:
        """Vectors of sentences (B, dim) and of their videos (B, dim), the numbers (B,) of videos and of pairs.

        A pair that several ranks saw, to fill up a last batch, counts once.
        """
        self.texts.append(texts.detach().float())
        self.vectors.append(vectors.detach().float())
        self.numbers.append(numbers)
        self.pairs.append(pairs)

    def compute(self) -> Tensor:
        texts, vectors, numbers, pairs = (_whole(getattr(self, name)).cpu() for name in STATES)
        once = {pair: place for place, pair in enumerate(pairs.tolist())}
        chosen = torch.tensor([once[pair] for pair in sorted(once)])
        texts, vectors, numbers = texts[chosen], vectors[chosen], numbers[chosen]
        kept: dict[int, int] = {}
        for place, number in enumerate(numbers.tolist()):
            kept.setdefault(number, place)
        column = {number: place for place, number in enumerate(kept)}
        scores = similarity(texts, vectors[list(kept.values())])
        figures = both_ways(scores, [column[number] for number in numbers.tolist()])
        direction = "video_to_text" if self.to_text else "text_to_video"
        return torch.tensor(figures[direction]["R@1"], device=self.device)


def _whole(parts: list[Tensor] | Tensor) -> Tensor:
    return parts if isinstance(parts, Tensor) else torch.cat(parts)
