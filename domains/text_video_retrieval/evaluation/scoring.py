"""Scores of an encoder on a set of pairs: both directions, the order of events, DSL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.text_video_retrieval.data.captions import PairSet
from domains.text_video_retrieval.data.datamodule import PairSamples
from domains.text_video_retrieval.data.world import Clip
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.metrics import Ties, both_ways, ranks_of
from domains.text_video_retrieval.model.similarity import dual_softmax
from suite.errors import InputError


@dataclass(frozen=True)
class Scored:
    """Similarities of a set.

    Attributes:
        scores: (T, V) cosines of sentences and videos.
        videos: of each sentence, its video's column.
        unread: videos that could not be read, with the reason; their sentences are left out.
        seconds: that the model took for a video, decoding left out. dim: of the common space.
    """

    pairs: PairSet
    scores: Tensor
    videos: tuple[int, ...]
    unread: dict[str, str]
    seconds: float = 0.0
    dim: int = 0

    def figures(self, *, dsl: bool = False, ties: Ties = "middle") -> dict[str, dict[str, float]]:
        """Recall and ranks in both directions; `dsl` re-weighs by all queries of the test at once."""
        if not dsl:
            return both_ways(self.scores, self.videos, ties)
        ways = both_ways(dual_softmax(self.scores), self.videos, ties)
        back = both_ways(dual_softmax(self.scores.T).T, self.videos, ties)
        return {"text_to_video": ways["text_to_video"], "video_to_text": back["video_to_text"]}

    def order(self) -> float | None:
        """Percent of the clips of two events whose sentence is nearer to them than to the clip in the other order.

        None where the set has no such pairs.
        """
        at = {self.pairs.pairs[place].caption: place for place in range(len(self.pairs))}
        right: list[float] = []
        for place, pair in enumerate(self.pairs.pairs):
            clip = self.pairs.videos[pair.video]
            if not isinstance(clip, Clip) or len(clip.events) != 2:
                continue
            other = at.get(clip.turned().caption)
            if other is None:
                continue
            own, wrong = self.scores[place, self.videos[place]], self.scores[place, self.videos[other]]
            right.append(1.0 if own > wrong else 0.5 if own == wrong else 0.0)
        return 100 * sum(right) / len(right) if right else None

    def ranks(self, ties: Ties = "middle") -> list[dict[str, Any]]:
        """For each sentence the rank of its video, its score, and the video that was found first with its score."""
        ranks = ranks_of(self.scores, torch.as_tensor(self.videos), ties).ranks.tolist()
        names = {column: pair.video for pair, column in zip(self.pairs.pairs, self.videos, strict=True)}
        best, first = self.scores.max(1)
        return [
            {
                "query": pair.caption,
                "video": pair.video,
                "rank": rank,
                "score": round(float(self.scores[place, column]), 6),
                "first": names[int(first[place])],
                "first_score": round(float(best[place]), 6),
            }
            for place, (pair, column, rank) in enumerate(zip(self.pairs.pairs, self.videos, ranks, strict=True))
        ]

    def metrics(self, *, dsl: bool = False, ties: Ties = "middle") -> dict[str, Any]:
        """All figures, flat names of directions apart."""
        figures = self.figures(dsl=dsl, ties=ties)
        found: dict[str, Any] = {**figures, "pairs": len(self.videos)}
        found["videos"] = self.scores.shape[1]
        found |= {"missing": len(self.pairs.missing), "unread": len(self.unread)}
        found |= {"ms_a_video": 1e3 * self.seconds, "embeddings_mb": self.scores.shape[1] * self.dim * 4 / 1e6}
        if (order := self.order()) is not None:
            found["order_of_events"] = order
        return found


def score(encoder: Encoder, pairs: PairSet, *, batch_size: int = 16, fps: float | None = None) -> Scored:
    """Encode a set and compare everything with everything.

    Raises:
        InputError: none of its videos can be read.
    """
    samples = PairSamples(pairs, encoder.frames, encoder.look, encoder.words, rate=fps or encoder.stated.fps)
    unread: dict[str, str] = {}
    vectors, columns, seconds = _videos(encoder, pairs, samples, batch_size, unread)
    kept = [place for place, pair in enumerate(pairs.pairs) if pair.video in columns]
    if not kept:
        raise InputError(f"{pairs.name}: no video can be read, e.g. {next(iter(unread.items()))}")
    texts = np.concatenate(
        [encoder.texts([pairs.pairs[place].caption for place in part])[0] for part in _parts(kept, 256)]
    )
    chosen = tuple(pairs.pairs[place] for place in kept)
    left = replace(pairs, pairs=chosen)
    numbers = tuple(columns[pair.video] for pair in chosen)
    return Scored(left, torch.from_numpy(texts @ vectors.T), numbers, unread, seconds, encoder.dim)


def _videos(
    encoder: Encoder, pairs: PairSet, samples: PairSamples, batch_size: int, unread: dict[str, str]
) -> tuple[np.ndarray, dict[str, int], float]:
    """Vectors (V, dim) of the videos that can be read, the row of each, and the model's seconds for one."""
    first: dict[str, int] = {}
    for place, pair in enumerate(pairs.pairs):
        first.setdefault(pair.video, place)
    columns: dict[str, int] = {}
    found: list[np.ndarray] = []
    spent = 0.0
    for part in _parts(list(first), batch_size):
        frames = []
        for name in part:
            try:
                frames.append(samples.video(first[name]))
            except InputError as error:
                unread[name] = str(error)
                continue
            columns[name] = len(columns)
        if frames:
            started = time.perf_counter()
            found.append(encoder.encoded(torch.stack(frames))[0])
            spent += time.perf_counter() - started
    vectors = np.concatenate(found) if found else np.empty((0, 0), np.float32)
    return vectors, columns, spent / max(1, len(columns))


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
