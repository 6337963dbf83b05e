"""Training data: pairs of videos and sentences to batches of frames and tokens."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from domains.text_video_retrieval.data.augment import VideoAugment
from domains.text_video_retrieval.data.captions import PairSet
from domains.text_video_retrieval.data.frames import positions, read_clip
from domains.text_video_retrieval.data.sources import open_pairs
from domains.text_video_retrieval.data.world import FPS, Clip
from suite.clip.pictures import Preprocessing
from suite.clip.words import Words
from suite.errors import InputError
from suite.training import loader

Sample = dict[str, Tensor]


class PairSamples(Dataset):
    """Pairs as a model sees them.

    Args:
        frames: of a video. rate: candidates a second.
        look, words: what the base does to pictures and sentences.
        augment: of training videos.
    """

    def __init__(
        self,
        pairs: PairSet,
        frames: int,
        look: Preprocessing,
        words: Words,
        *,
        rate: float = 1.0,
        augment: VideoAugment | None = None,
    ) -> None:
        self.pairs, self.frames, self.rate = pairs, frames, rate
        self.look, self.words, self.augment = look, words, augment
        self.numbers = pairs.numbers
        self._drawn: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> Sample:
        """`frames` (N, 3, side, side), `tokens` (length,), `words` (length,) mask, `video` and `pair` () their numbers.

        Raises:
            InputError: the video cannot be read.
        """
        pair = self.pairs.pairs[number]
        tokens = self.words(pair.caption)[0]
        return {
            "frames": self.video(number),
            "tokens": tokens,
            "words": mask_of(tokens),
            "video": torch.tensor(self.numbers[number]),
            "pair": torch.tensor(number),
        }

    def video(self, number: int) -> Tensor:
        """The frames of a pair's video (N, 3, side, side)."""
        pair = self.pairs.pairs[number]
        source = self.pairs.videos[pair.video]
        if isinstance(source, Clip):
            pictures = list(self._made(pair.video, source))
        else:
            read = read_clip(source, self.frames, rate=self.rate, start=pair.start, end=pair.end)
            pictures = list(read.pictures)
        return self.look.batch(self.augment(pictures) if self.augment else pictures)

    def _made(self, name: str, clip: Clip) -> np.ndarray:
        if name not in self._drawn:
            self._drawn[name] = clip.pictures(self.look.size)
        drawn = self._drawn[name]
        return drawn[positions(0, len(drawn) - 1, self.frames, FPS, self.rate)]


class Together(Dataset):
    """Samples in groups, one after another, that stay in one batch.

    Args:
        size: of a group; samples behind the last whole one are left out.
    """

    def __init__(self, samples: PairSamples, size: int) -> None:
        self.samples, self.size = samples, size

    def __len__(self) -> int:
        return len(self.samples) // self.size

    def __getitem__(self, number: int) -> Sample:
        """As of a sample, with a first dimension (size,)."""
        first = number * self.size
        return default_collate([self.samples[first + place] for place in range(self.size)])


def joined(groups: list[Sample]) -> Sample:
    """A batch of the samples of all groups."""
    return {name: torch.cat([group[name] for group in groups]) for name in groups[0]}


def mask_of(tokens: Tensor) -> Tensor:
    """1 up to the last end marker, the largest id, of each row; 0 for what fills up, which is also a word's id."""
    after = tokens.flip(-1).argmax(-1, keepdim=True)  # tokens behind the last end marker
    return (torch.arange(tokens.shape[-1]) < tokens.shape[-1] - after).long()


class TextVideoData(L.LightningDataModule):
    """Pairs of the made world, of a benchmark or of one's own.

    Args:
        train: `world:SPLIT[:COUNT]`, or `PATH[:train|val|test]` of a benchmark's annotations or of one's own table.
        val: the same; None: no validation. A test split is accepted, and then said to have selected the model.
        videos: folder of the videos; beside the annotations where left out.
        format: msrvtt, msvd, activitynet, didemo, lsmdc, table or beside; `auto` finds it.
        fps: frames a second that are candidates; below 1 for long videos.
        batch_size: pairs a batch, each other's negatives. eval_batch_size: of validation.
        augment: policy of RandAugment for training videos, in timm's words (`rand-m7-n4-mstd0.5-inc1` as published).
        num_workers: processes that decode.
    """

    def __init__(
        self,
        train: str = "world:train",
        val: str | None = "world:val",
        videos: str | None = None,
        format: str = "auto",
        fps: float = 1.0,
        batch_size: int = 128,
        eval_batch_size: int = 64,
        augment: str | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not fps > 0:
            raise InputError(f"data.fps is {fps}; give a number above 0, e.g. 0.4")
        if batch_size < 2:
            raise InputError(
                f"data.batch_size is {batch_size}; the pairs of a batch are each other's negatives: give 2 or more"
            )
        self.sources = {"train": train, "val": val}
        self.videos, self.format, self.fps = videos, format, fps
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.augment, self.num_workers = augment, num_workers
        self.frames, self.look = 0, Preprocessing()
        self.words: Words | None = None
        self.sets: dict[str, PairSet] = {}

    def meet(self, frames: int, look: Preprocessing, words: Words) -> None:
        """Take over what the base and its schedule ask for."""
        self.frames, self.look, self.words = frames, look, words

    def setup(self, stage: str = "fit") -> None:
        """Open the sources, once each; what is unusual about them is said once."""
        for name, source in self.sources.items():
            if source is not None and name not in self.sets:
                split: Any = "train" if name == "train" else "val"
                self.sets[name] = open_pairs(source, videos=self.videos, format=self.format, split=split)
                for notice in self.sets[name].notices:
                    print(notice, file=sys.stderr, flush=True)

    def samples(self, name: str) -> PairSamples:
        """The samples of `train` or `val`.

        Raises:
            InputError: the source has fewer pairs than a batch.
        """
        self.setup()
        assert self.words is not None, "the recipe's bind was not called"
        augment = VideoAugment(self.augment, self.look.size) if self.augment and name == "train" else None
        return PairSamples(self.sets[name], self.frames, self.look, self.words, rate=self.fps, augment=augment)

    def train_dataloader(self) -> DataLoader:
        samples = self.samples("train")
        if len(samples) < self.batch_size:
            raise InputError(f"data.train has {len(samples)} pairs, fewer than a batch of {self.batch_size}")
        options: dict[str, Any] = {"drop_last": True, "num_workers": self.num_workers}
        if (size := samples.pairs.together) > 1 and self.batch_size % size == 0:
            return loader(Together(samples, size), self.batch_size // size, collate_fn=joined, **options)
        return loader(samples, self.batch_size, **options)

    def val_dataloader(self) -> DataLoader | list[Any]:
        if self.sources["val"] is None:
            return []
        return loader(self.samples("val"), self.eval_batch_size, shuffle=False, num_workers=self.num_workers)
