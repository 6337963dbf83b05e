"""Training data of commits: encoded for the recipe that trains on them."""

from __future__ import annotations

import sys
from itertools import chain
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from domains.code_review.data.change_sources import commits
from domains.code_review.data.commits import FEATURES, Commit, scaled
from domains.code_review.data.examples import Pair
from domains.code_review.data.pairs import PairCollate, PairSamples
from domains.code_review.data.splits import SplitData
from domains.code_review.model.change_encoding import MESSAGE, change_text, defect_ids, whole_ids
from domains.code_review.model.change_manifest import ChangeTask
from suite.errors import InputError
from suite.training import loader


def encode(
    tokenizer: Any, commit: Commit, task: ChangeTask, most: int, most_message: int = MESSAGE, most_answer: int = 128
) -> Pair:
    """A commit as a sample of a task.

    Args:
        most: ids of what is read. most_message: of the message in front of a change. most_answer: of what is written.
    """
    if task == "defects":
        added, removed = commit.lines("+"), commit.lines("-")
        ids, cut = defect_ids(tokenizer, commit.message, added, removed, most, most_message)
        return Pair(ids, [], None if commit.defective is None else int(commit.defective), cut)
    text = commit.tokens or change_text(list(commit.rows), commit.layout == "grouped")
    ids, cut = whole_ids(tokenizer, text, most)
    return Pair(ids, whole_ids(tokenizer, commit.message, most_answer)[0], None, cut)


class ChangeData(SplitData):
    """Commits of one task; the recipe is asked for tokenizer, task, and whether it reads the experts' features.

    Args:
        train: what to train on (see `change_sources`): a file, a folder, a slice, `world:train`; several are joined.
        val: what to validate on. None: no validation.
        batch_size: commits a batch.
        max_length: most tokens of what is read.
        max_message: most tokens of a message in front of a change, where defects are told.
        max_answer: most tokens of a message that is written.
        standardise: the experts' features by mean and deviation of the commits to train on (`train`), or of every
            split by its own (`split`), as the published code does: the test split's figures then leak into it.
        skip_bad: broken lines of a file that are passed over.
        seed: of the made world.

    Attributes:
        mean, deviation: of the features of the commits to train on. layout: of all commits.
    """

    def __init__(
        self,
        train: str | list[str] = "world:train:400",
        val: str | list[str] | None = "world:val:64",
        batch_size: int = 32,
        max_length: int = 512,
        max_message: int = MESSAGE,
        max_answer: int = 128,
        standardise: str = "train",
        skip_bad: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val)
        if standardise not in ("train", "split"):
            raise InputError(f"data.standardise is {standardise!r}; choose train or split")
        self.batch_size, self.max_length = batch_size, max_length
        self.max_message, self.max_answer = max_message, max_answer
        self.standardise, self.skip_bad, self.seed = standardise, skip_bad, seed
        self.mean: tuple[float, ...] = ()
        self.deviation: tuple[float, ...] = ()
        self.layout = ""

    def _splits(self, stage: str | None) -> tuple[str, ...]:
        """Also to validate alone the commits to train on, where the features are scaled by them."""
        assert self._asked is not None
        scaled_by_training = self._asked()[2] and self.standardise == "train"
        return ("train", "val") if scaled_by_training else super()._splits(stage)

    def _encode(self, split: str) -> PairSamples:
        assert self._asked is not None
        tokenizer, task, reads_features = self._asked()
        self._padding = int(tokenizer.pad_token_id)
        found = chain.from_iterable(commits(source, split, self.seed, self.skip_bad) for source in self.sources[split])
        samples, features = PairSamples(), []
        for commit in found:
            self._check(commit, task, reads_features)
            features.append(commit.features)
            samples.add(encode(tokenizer, commit, task, self.max_length, self.max_message, self.max_answer))
        if reads_features and features:
            samples.features = self._standardised(split, features)
        if samples.truncated:
            told = f"{split}: {samples.truncated} of {len(samples)} commits were cut to {self.max_length} tokens"
            print(told, file=sys.stderr, flush=True)
        return samples

    def _standardised(self, split: str, features: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        if split == "train" or self.standardise == "split" or not self.mean:
            mean, deviation = statistics(features)
            if split == "train":
                self.mean, self.deviation = mean, deviation
            if split != "train":
                return [scaled(row, mean, deviation) for row in features]
        return [scaled(row, self.mean, self.deviation) for row in features]

    def _check(self, commit: Commit, task: ChangeTask, reads_features: bool) -> None:
        if task == "defects" and commit.defective is None:
            raise InputError(f"data: commit {commit.id} has no 'label'; whether it brought in a defect must be known")
        if task == "defects" and commit.layout == "tokens":
            raise InputError(f"data: commit {commit.id} is one of MCMD's, which know no defects")
        if task == "message" and not commit.message.strip():
            raise InputError(f"data: commit {commit.id} has no message to learn")
        if reads_features and not commit.features:
            raise InputError(
                f"data: commit {commit.id} has none of the {len(FEATURES)} features ({', '.join(FEATURES[:3])}, ...) "
                "that recipe.head concat reads; give them, or choose single"
            )
        if self.layout not in ("", commit.layout):
            raise InputError(f"data: commit {commit.id} is written as {commit.layout}, others as {self.layout}")
        self.layout = commit.layout

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        samples = self.encoded[split]
        if not len(samples):
            raise InputError(f"data: {split} ({', '.join(self.sources[split])}) gives no commit")
        fill = PairCollate(self._padding)
        return loader(samples, self.batch_size, shuffle=shuffle, lengths=samples.lengths, collate_fn=fill)


def statistics(features: list[tuple[float, ...]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each feature; one that never changes has a deviation of 1."""
    table = np.asarray(features, dtype=float)  # (commits, features)
    deviation = table.std(axis=0)
    return tuple(table.mean(axis=0).tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist())
