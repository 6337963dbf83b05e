"""What went wrong in an evaluation, as pictures: the video that a sentence means, and the one that it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domains.text_video_retrieval.data.captions import PairSet
from domains.text_video_retrieval.data.frames import read_clip
from domains.text_video_retrieval.data.world import FPS, Clip
from domains.text_video_retrieval.output.strips import strip
from suite.errors import InputError
from suite.media import sheets


def draw(pairs: PairSet, frames: int, worst: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw for each sentence its own video's frames, and those of the video that was found first.

    Args:
        frames: of a strip. worst: records of `Scored.ranks`.
    """
    strips = []
    for one in worst:
        titles = {
            one["video"]: f"\u201c{one['query']}\u201d, found at rank {one['rank']:g} ({one['score']:.2f})",
            one["first"]: f"found first: {one['first']} ({one['first_score']:.2f})",
        }
        for name, title in titles.items():
            try:
                strips.append(np.asarray(_strip(pairs, name, frames, title)))
            except InputError:
                continue
    return [sheets.save_png(sheets.sheet(strips, columns=1), folder / "worst.png")] if strips else []


def _strip(pairs: PairSet, name: str, frames: int, title: str) -> Any:
    source = pairs.videos[name]
    if isinstance(source, Clip):
        pictures, times = list(source.pictures()), [number / FPS for number in range(source.frames)]
        return strip(pictures, times, title)
    pair = next(pair for pair in pairs.pairs if pair.video == name)
    read = read_clip(source, frames, start=pair.start, end=pair.end)
    return strip(read.pictures, read.times, title)
