"""What an adapter of the made world reaches, beside its frozen base: heard by trackers, not read off its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from domains.music.data import world
from domains.music.data.sources import open_recordings
from domains.music.evaluation.embeddings import Spectral
from domains.music.evaluation.scoring import Heard, heard_of, made_means, of_waves, score
from domains.music.types import Composer, MusicQuery

PIECES, BATCH = 64, 16
SEEDS = (0, 1, 2)
FIGURES = ("in_scale", "in_cycle", "old_in_scale", "old_in_cycle", "frechet")


def pieces(genre: str | None) -> list[world.Piece]:
    """Held-out pieces whose captions are prompts."""
    return [world.piece("test", number, genre) for number in range(PIECES)]


def composed(composer: Composer, asked: Sequence[world.Piece], seed: int, *, frozen: bool) -> list[Heard]:
    """What is made of the captions."""
    query, made = MusicQuery(seconds=world.SECONDS), []
    for first in range(0, len(asked), BATCH):
        prompts = [one.caption for one in asked[first : first + BATCH]]
        seeds = [1000 * seed + first + number for number in range(len(prompts))]
        made += composer.compose(prompts, query, seeds=seeds, frozen=frozen)
    named = zip(asked, made, strict=True)
    return of_waves((f"{n}", one.caption, wave, composer.rate) for n, (one, wave) in enumerate(named))


def measure(composer: Composer, seed: int, *, frozen: bool) -> dict[str, float]:
    """Shares of the held-out scale and cycle, of the old ones, and the Frechet distance to held-out recordings."""
    new = composed(composer, pieces(world.HELD_OUT), seed, frozen=frozen)
    old = composed(composer, pieces(None), seed, frozen=frozen)
    recordings = heard_of(open_recordings(f"world:test:{PIECES}:{world.HELD_OUT}"))
    distance = score(recordings, new, [Spectral()]).metrics
    return {
        **made_means(new)[0],
        **{f"old_{name}": value for name, value in made_means(old)[0].items()},
        "frechet": next(value for name, value in distance.items() if name.startswith("frechet")),
    }


def compare(composer: Composer, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The adapted model beside its frozen base, by several seeds of sampling; see `summary`."""
    return summary(
        [measure(composer, seed, frozen=False) for seed in seeds],
        [measure(composer, seed, frozen=True) for seed in seeds],
    )


def summary(adapted: Sequence[Mapping[str, float]], frozen: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What `measure` gave of several seeds, of sampling or of training.

    Returns:
        `adapted`, `frozen`: means by figure. `spread`: the larger standard deviation of the two. `gain`: how many
        spreads scale and cycle are above the frozen base's.
    """
    rows = {"adapted": adapted, "frozen": frozen}
    found: dict[str, Any] = {
        kind: {name: float(np.mean([row[name] for row in own])) for name in FIGURES} for kind, own in rows.items()
    }
    found["spread"] = {
        name: max(float(np.std([row[name] for row in own], ddof=1)) for own in rows.values()) for name in FIGURES
    }
    found["gain"] = {
        name: (found["adapted"][name] - found["frozen"][name]) / max(found["spread"][name], 1e-9)
        for name in ("in_scale", "in_cycle")
    }
    return found
