"""Clips of the made world as pairs; tests hold out shapes, and every two-event clip stands beside its reverse."""

from __future__ import annotations

from domains.text_video_retrieval.data import world
from domains.text_video_retrieval.data.captions import Pair, PairSet, Split


def read(split: Split, count: int) -> PairSet:
    """`count` clips of a split: events in turn, each clip of two followed by the one in the other order."""
    clips: list[world.Clip] = []
    number = 0
    while len(clips) < count:
        clip = world.clip(split, number)
        clips.append(clip)
        if len(clip.events) == 2 and len(clips) < count and split != "train":
            clips.append(clip.turned())
        number += 1
    named = {f"{split}{place}": clip for place, clip in enumerate(clips)}
    pairs = tuple(Pair(name, clip.caption) for name, clip in named.items())
    return PairSet(f"made clips, {split}", pairs, named, words=32, frames=world.FRAMES // 2)
