"""The ways in which figures of the made world move."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def path(
    motion: str, rng: np.random.Generator, frames: int, size: tuple[int, int], speed: float
) -> NDArray[np.float64]:
    """A way across the frame: (frames, 2), at about `speed` pixels a frame.

    Raises:
        KeyError: there is no such motion.
    """
    margin = 0.16 * np.array(size)
    low, high = margin, np.array(size) - margin
    start = rng.uniform(low, high)
    steps = _STEPS[motion](rng, frames) * speed  # (frames, 2)
    return _folded(start + np.cumsum(steps, axis=0), low, high)


def _glide(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    turn = rng.uniform(0, 2 * math.pi)
    return np.tile([math.cos(turn), math.sin(turn)], (frames, 1))


def _arc(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    turns = rng.uniform(0, 2 * math.pi) + rng.choice([-1, 1]) * rng.uniform(1, 2.5) * np.linspace(0, 1, frames)
    return np.stack([np.cos(turns), np.sin(turns)], 1)


def _walk(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    turns = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.25, frames))
    return np.stack([np.cos(turns), np.sin(turns)], 1) * rng.uniform(0.6, 1.4, (frames, 1))


def _zigzag(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    period, turn = int(rng.integers(6, 11)), rng.uniform(0, 2 * math.pi)
    turns = turn + 0.9 * np.where(np.arange(frames) // period % 2, 1, -1)
    return np.stack([np.cos(turns), np.sin(turns)], 1)


def _dash(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    period = int(rng.integers(7, 12))
    ways = rng.uniform(0, 2 * math.pi, frames // period + 1)[np.arange(frames) // period]
    going = np.where(np.arange(frames) % period < period // 2, 1.8, 0.15)
    return np.stack([np.cos(ways), np.sin(ways)], 1) * going[:, None]


def _orbit(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    turns = rng.uniform(0, 2 * math.pi) + rng.choice([-1, 1]) * rng.uniform(0.12, 0.22) * np.arange(frames)
    return np.stack([np.cos(turns), np.sin(turns)], 1)


_STEPS = {"glide": _glide, "arc": _arc, "walk": _walk, "zigzag": _zigzag, "dash": _dash, "orbit": _orbit}


def _folded(places: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places beyond the margin thrown back, as by a wall."""
    span = high - low
    beyond = (places - low) % (2 * span)
    return low + np.where(beyond > span, 2 * span - beyond, beyond)
