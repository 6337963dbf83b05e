"""Clips of the made world as pairs; every clip stands beside the one that is most like it."""

from __future__ import annotations

from domains.text_video_retrieval.data import world
from domains.text_video_retrieval.data.captions import Pair, PairSet, Split


def read(split: Split, count: int) -> PairSet:
    """`count` clips of a split, each followed by the one in which events stand in the other order, or are opposite."""
    clips: list[world.Clip] = []
    for number in range((count + 1) // 2):
        clip = world.clip(split, number)
        clips += [clip, clip.turned()]
    named = {f"{split}{place}": clip for place, clip in enumerate(clips[:count])}
    pairs = tuple(Pair(name, clip.caption) for name, clip in named.items())
    together = 2 if count % 2 == 0 else 1
    return PairSet(f"made clips, {split}", pairs, named, words=32, frames=world.FRAMES // 2, together=together)
