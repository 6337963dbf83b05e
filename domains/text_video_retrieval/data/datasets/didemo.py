"""DiDeMo (Hendricks et al., ICCV 2017): all descriptions of a video joined, its first half minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, annotation, listed, made_set, words

LENGTH = 31.0
"""Seconds of a video that count."""


def fits(folder: Path) -> bool:
    return (folder / "train_list.txt").is_file() and (folder / "train_data.json").is_file()


def read(folder: Path, videos: Path, split: Split) -> PairSet:
    """A paragraph for each video of the split's list.

    Raises:
        InputError: a file is missing or broken.
    """
    told = annotation(
        folder / f"{split}_data.json", '[{"description", "times", "video"}]',
        lambda content: all(words([one["description"], one["video"]]) for one in content),
    )  # fmt: skip
    return made_set(
        f"DiDeMo {split}",
        paragraphs(listed(folder / f"{split}_list.txt"), told),
        Files.below(videos),
        words=64,
        frames=64,
    )


def paragraphs(ids: list[str], told: list[dict[str, Any]]) -> Iterator[Pair]:
    """Ids are whole file names, suffixes and all."""
    described: dict[str, list[str]] = {}
    for one in told:
        described.setdefault(one["video"], []).append(one["description"])
    for name in ids:
        if sentences := described.get(name):
            yield Pair(name, " ".join(sentences), 0.0, LENGTH)
