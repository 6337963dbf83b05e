"""ActivityNet Captions (Krishna et al., ICCV 2017): the paragraph of a video, from its sentences in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, annotation, made_set, words

LAYOUT = '{"<video id>": {"duration", "timestamps", "sentences"}}'


def fits(folder: Path) -> bool:
    return (folder / "train_ids.json").is_file() and (folder / "val_1.json").is_file()


def read(folder: Path, videos: Path, split: Split) -> PairSet:
    """A paragraph for each video; `val` and `test` are val_1.

    Raises:
        InputError: a file is missing or broken.
    """
    train = split == "train"
    ids = annotation(
        folder / ("train_ids.json" if train else "val_ids.json"), '["<video id>", ...]',
        words,
    )  # fmt: skip
    told = annotation(
        folder / ("train.json" if train else "val_1.json"), LAYOUT,
        lambda content: all(words(one["sentences"]) and 0 < one["duration"] < math.inf for one in content.values()),
    )  # fmt: skip
    return made_set(f"ActivityNet {split}", paragraphs(ids, told), Files.below(videos), words=64, frames=64)


def paragraphs(ids: list[str], told: dict[str, Any]) -> Iterator[Pair]:
    for one in ids:
        if (found := told.get(one)) is not None:
            text = " ".join(sentence.strip() for sentence in found["sentences"])
            yield Pair(one, text, 0.0, float(math.ceil(found["duration"])))
