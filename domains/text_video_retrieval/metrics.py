"""Recall, median and mean rank of retrieval in both directions, ties counted as chance would break them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from domains.text_video_retrieval.model.similarity import similarity

AT = (1, 5, 10, 50)


@dataclass(frozen=True)
class Ranks:
    """Where each query's right answer stands.

    Attributes:
        better: (Q,) answers that score more. tied: (Q,) that score the same, itself counted.
    """

    better: Tensor
    tied: Tensor

    @property
    def ranks(self) -> Tensor:
        """(Q,) from 1; in the middle of those that tie."""
        return self.better + (self.tied + 1) / 2

    def recall(self, k: int) -> float:
        """Percent of the queries whose answer is among the first `k`, ties broken by chance."""
        hits = ((k - self.better) / self.tied).clamp(0, 1)
        return float(100 * hits.mean())

    def figures(self) -> dict[str, float]:
        """Recall at each of `AT`, and the median and mean rank."""
        ranks = self.ranks.sort().values
        half = len(ranks) // 2
        median = ranks[half] if len(ranks) % 2 else (ranks[half - 1] + ranks[half]) / 2
        recalls = {f"R@{k}": self.recall(k) for k in AT}
        return {**recalls, "MdR": float(median), "MnR": float(ranks.mean())}


def ranks_of(scores: Tensor, answers: Tensor) -> Ranks:
    """Ranks of the right answers.

    Args:
        scores: (Q, A), more is nearer. answers: (Q,) the column that is right for each query.
    """
    scores = scores.double()
    own = scores.gather(1, answers[:, None])
    # Whatever is no number, a query's own included, stands behind all that are.
    own, others = own.nan_to_num(-torch.inf), scores.nan_to_num(-torch.inf)
    return Ranks((others > own).sum(1).double(), (others == own).sum(1).double())


def both_ways(scores: Tensor, videos: Sequence[int]) -> dict[str, dict[str, float]]:
    """The figures of text to video and of video to text.

    Args:
        scores: (T, V) of sentences and videos. videos: of each sentence, its video's column. A video of several
            sentences is found by the best of them (CLIP4Clip's multi-sentence protocol).
    """
    own = torch.as_tensor(list(videos))
    to_video = ranks_of(scores, own)
    if len(own) == scores.shape[1] and own.tolist() == list(range(len(own))):
        to_text = ranks_of(scores.T, own)
    else:
        present = own.unique()  # videos without a sentence answer, and are not asked
        best = torch.full((scores.shape[1], len(present)), -torch.inf, dtype=scores.dtype)
        for place, video in enumerate(present.tolist()):
            best[:, place] = scores[own == video].max(0).values
        to_text = ranks_of(best[present], torch.arange(len(present)))
    return {"text_to_video": to_video.figures(), "video_to_text": to_text.figures()}


def r_sum(figures: dict[str, dict[str, float]]) -> float:
    """R-Sum: recall at 1, 5 and 10 of both directions together; at most 600."""
    return sum(each[f"R@{k}"] for each in figures.values() for k in (1, 5, 10))


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
        for name in ("texts", "vectors", "numbers"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, texts: Tensor, vectors: Tensor, numbers: Tensor) -> None:
        """Vectors of sentences (B, dim) and of their videos (B, dim), and the videos' numbers (B,)."""
        self.texts.append(texts.detach().float())
        self.vectors.append(vectors.detach().float())
        self.numbers.append(numbers)

    def compute(self) -> Tensor:
        texts, vectors, numbers = (_whole(getattr(self, name)).cpu() for name in ("texts", "vectors", "numbers"))
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
