"""Which frames of which sequence a training sample is made of: SPMTrack's rule, of one generator and bounded tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.tracking.data.sequences import SequenceSet

TRIES = 20
"""Of one track, before another sequence is taken."""


@dataclass(frozen=True)
class FrameSampling:
    """How far apart the frames of a sample may lie.

    Attributes:
        max_gap: of the frames about the base frame. max_interval: of the two beyond them.
    """

    max_gap: int = 200
    max_interval: int = 400

    def frames(self, visible: NDArray[np.int64], length: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Three template frames and two search frames (5,), in one direction of time; None where tries run out.

        About a base frame two more are drawn within `max_gap`; beyond the outermost of the three, on a side that has
        at least two, two more. Of the five in order the first three are the templates, so that what was drawn last may
        become one of them. A picture (`length` 1) is the same frame five times.

        Args:
            visible: the frames in which the object is in sight, ascending.
        """
        if length == 1 and len(visible):
            return np.repeat(visible, 5)
        for _ in range(TRIES if len(visible) > 3 else 0):
            base = rng.choice(visible)
            near = visible[(np.abs(visible - base) <= self.max_gap) & (visible != base)]
            if len(near) < 3:
                continue
            three = np.sort([base, *rng.choice(near, 2)])
            sides = (
                visible[(visible >= three[0] - self.max_interval) & (visible < three[0])],
                visible[(visible > three[2]) & (visible <= three[2] + self.max_interval)],
            )
            wide = [side for side in sides if len(side) >= 2]
            if not wide:
                continue
            beyond = wide[int(rng.integers(len(wide)))]
            five = np.sort([*three, *rng.choice(beyond, 2)]).astype(np.int64)
            return five[::-1] if rng.random() < 0.5 else five
        return None


@dataclass(frozen=True)
class Place:
    """Which sequence of which set."""

    set: int
    sequence: int


class SequenceOrder:
    """Sets in turn, all with equal weight; of each the sequences in shuffled rounds, every one once a round.

    Args:
        seed: of the rounds.
    """

    def __init__(self, sets: Sequence[SequenceSet], seed: int = 0) -> None:
        self.sizes = [len(one) for one in sets]
        self.seed = seed
        self._round: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def at(self, draw: int) -> Place:
        """The place of a draw, counted from the beginning of the training."""
        own, turn = draw % len(self.sizes), draw // len(self.sizes)
        number, place = divmod(turn, self.sizes[own])
        if self._round.get(own, (-1, None))[0] != number:
            order = np.random.default_rng([self.seed, own, number]).permutation(self.sizes[own])
            self._round[own] = number, order
        return Place(own, int(self._round[own][1][place]))
