"""An adapter's answers to the labelled frames of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from domains.deepfake.data.datamodule import opened
from domains.deepfake.data.frame_set import FrameSet
from domains.deepfake.inference.loaded import FaceScorer
from suite.prediction.ahead import ahead
from suite.prediction.loop import batches

AHEAD = 2
"""Batches of pictures that are read before the model asks for them."""


@dataclass(frozen=True)
class Answers:
    """Logits and truth of frames.

    Attributes:
        paths: of the frames. logits: (frames, 2), before any temperature. labels: (frames,).
    """

    paths: list[str]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]

    def scores(self, temperature: float = 1.0) -> NDArray[np.float64]:
        """(frames,) probability of manipulated."""
        margin = (self.logits[:, 1] - self.logits[:, 0]) / temperature
        return np.asarray(torch.sigmoid(torch.from_numpy(margin)).numpy(), dtype=np.float64)

    def only(self, paths: set[str]) -> Answers:
        """Those of some frames."""
        rows = [row for row, path in enumerate(self.paths) if path in paths]
        return Answers([self.paths[row] for row in rows], self.logits[rows], self.labels[rows])


def answers(scorer: FaceScorer, frames: FrameSet, batch_size: int = 32) -> Answers:
    """Run a model over all frames of a set; a few batches are held at once."""
    logits = [scorer.logits(batch).double().numpy() for batch in ahead(_batches(scorer, frames, batch_size), AHEAD)]
    return Answers([frame.path for frame in frames.frames], np.concatenate(logits), frames.labels)


def _batches(scorer: FaceScorer, frames: FrameSet, size: int) -> Iterator[torch.Tensor]:
    for batch in batches(frames.frames, size):
        yield scorer.preprocessing.batch([opened(frames, frame) for frame in batch])
