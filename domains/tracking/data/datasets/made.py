"""Sequences of the made world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

import numpy as np

from domains.tracking.data.frames import SceneFrames
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, Track
from domains.tracking.data.world import FPS, FRAMES, HEIGHT, WIDTH, Scene, Split, scene

COUNTS: dict[Split, int] = {"train": 240, "val": 24, "test": 40}


KEPT = 96
"""Sequences of which what was painted is kept, 5 MB each: painting takes longer than a small model's step."""


class MadeSequences(Sequence[AnnotatedSequence]):
    """Sequences that are made when they are asked for, the last ones kept.

    Args:
        several: whether all figures are objects to follow, or the first alone.
    """

    def __init__(
        self,
        split: Split,
        length: int,
        *,
        frames: int = FRAMES,
        several: bool = False,
        size: tuple[int, int] = (WIDTH, HEIGHT),
    ) -> None:
        self.split, self.length, self.frames, self.several, self.size = split, length, frames, several, size
        self._made = lru_cache(maxsize=KEPT)(self._make)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> AnnotatedSequence: ...
    @overload
    def __getitem__(self, place: slice) -> list[AnnotatedSequence]: ...
    def __getitem__(self, place: int | slice) -> AnnotatedSequence | list[AnnotatedSequence]:
        if isinstance(place, slice):
            return [self._made(number) for number in range(*place.indices(self.length))]
        if not 0 <= place < self.length:
            raise IndexError(place)
        return self._made(place)

    def __iter__(self) -> Iterator[AnnotatedSequence]:
        return map(self._made, range(self.length))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_made"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._made = lru_cache(maxsize=KEPT)(self._make)

    def _make(self, number: int) -> AnnotatedSequence:
        made = scene(self.split, number, frames=self.frames, width=self.size[0], height=self.size[1])
        actors = range(len(made.actors) if self.several else 1)
        tracks = {str(actor + 1): track(made, actor) for actor in actors}
        return AnnotatedSequence(made.name, SceneFrames(made), tracks, attributes=made.attributes, fps=FPS)


def track(made: Scene, actor: int) -> Track:
    """What is true of a figure, in every frame."""
    truths = [made.truth(actor, frame) for frame in range(len(made))]
    boxes = np.array([truth.box for truth in truths])
    present = np.array([truth.present for truth in truths])
    return Track.of(boxes, present, kind=made.actors[actor].look.kind)


def read(split: Split, count: int | None = None, *, several: bool = False) -> SequenceSet:
    """The made sequences of a split."""
    chosen = COUNTS[split] if count is None else count
    return SequenceSet(f"made {split}", "made", MadeSequences(split, chosen, several=several))
