"""An adapter's answers to the labelled frames of a data set."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domains.deepfake.data.datamodule import opened
from domains.deepfake.data.frame_set import FrameSet
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.metrics import Reduction, by_video
from suite.errors import InputError, first_line
from suite.files import read_text
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

    @property
    def classes(self) -> set[str]:
        """Which of real and manipulated are there."""
        return {("real", "manipulated")[label] for label in set(self.labels.tolist())}

    def levels(
        self, temperature: float, reduce: Reduction = "mean"
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Scores and labels of frames and of videos."""
        scores = self.scores(temperature)
        _, means, labels = by_video(self.paths, scores, self.labels, reduce=reduce)
        return {"frame": (scores, self.labels), "video": (means, labels)}

    def undecided(self, paths: Sequence[str], labels: Sequence[int]) -> Answers:
        """With frames that say neither: a score of a half at every temperature."""
        logits = np.concatenate([self.logits, np.zeros((len(paths), 2))])
        return Answers([*self.paths, *paths], logits, np.concatenate([self.labels, np.array(labels, dtype=np.int64)]))


_COLUMNS = {
    "path": ("path", "files", "file"),
    "label": ("label", "labels"),
    "score": ("logit", "prob_class_1", "p_fake", "score"),
}
"""Columns of a table of scores by what they hold, the ones to take first; also by the released code's names."""

_CLOSEST = 1e-5
"""Of a probability to 0 or 1: tables of four digits say 1.0000 of what is not certain."""


def read_scores(file: Path) -> Answers:
    """Labelled scores of frames from a table: ours (`frames.csv`) or the released code's.

    Raises:
        InputError: it cannot be read, lacks a column, or a value in it is none.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: {first_line(error)}; give a .csv of scores") from error
    if not rows:
        raise InputError(f"{file}: has no row; give a .csv of scores")
    found = {what: next((n for n in names if n in rows[0]), None) for what, names in _COLUMNS.items()}
    if lacking := [what for what, name in found.items() if name is None]:
        names = " or ".join(_COLUMNS[lacking[0]])
        raise InputError(f"{file}: has no column {names}; it has {', '.join(rows[0])}")
    paths, labels, margins = [], [], []
    for line, row in enumerate(rows, 2):
        try:
            label, value = int(row[found["label"]]), float(row[found["score"]])
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}, line {line}: label or score is no number; correct it") from error
        if label not in (0, 1) or not (found["score"] == "logit" or 0 <= value <= 1):
            raise InputError(f"{file}, line {line}: label {label}, score {value}; give 0 or 1, and 0 to 1")
        if found["score"] != "logit":
            share = min(max(value, _CLOSEST), 1 - _CLOSEST)
            value = math.log(share / (1 - share))
        paths.append(row[found["path"]])
        labels.append(label)
        margins.append(value)
    logits = np.stack([np.zeros(len(margins)), np.array(margins)], 1)  # (frames, 2)
    return Answers(paths, logits, np.array(labels, dtype=np.int64))


def answers(scorer: FaceScorer, frames: FrameSet, batch_size: int = 32) -> Answers:
    """Run a model over all frames of a set; a few batches are held at once."""
    logits = [scorer.logits(batch).double().numpy() for batch in ahead(_batches(scorer, frames, batch_size), AHEAD)]
    return Answers([frame.path for frame in frames.frames], np.concatenate(logits), frames.labels)


def _batches(scorer: FaceScorer, frames: FrameSet, size: int) -> Iterator[torch.Tensor]:
    for batch in batches(frames.frames, size):
        yield scorer.preprocessing.batch([opened(frames, frame) for frame in batch])
