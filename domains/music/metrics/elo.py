"""Listeners' votes: ELO ratings of models, and how far two listeners agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.errors import InputError

START, K = 1500.0, 15.0
CHANCE = 0.55
"""Agreement of two listeners who guess, in the published kappa."""

_MARGINS = {">>": 2, ">": 1, "=": 0, "<": -1, "<<": -2}
_VOTE = re.compile(r"([AB])\s*(>>|>|=|<<|<)\s*([AB])")


@dataclass(frozen=True)
class Vote:
    """One listener's answer.

    Attributes:
        margin: of A over B: 2 (much better), 1, 0, -1, -2; None where the listener chose neither.
        loser_first: written as `A < B` or `B << A`, which the published script does not recognise.
    """

    margin: int | None
    loser_first: bool = False

    @classmethod
    def of(cls, text: str) -> Vote:
        """`A >> B`, `B > A`, `A < B`, `A = B`, `None`.

        Raises:
            InputError: it is none of them.
        """
        if text.strip().lower() in ("none", ""):
            return cls(None)
        found = _VOTE.fullmatch(text.strip().upper())
        if found is None or found[1] == found[3]:
            raise InputError(f"vote {text!r}: give A >> B, A > B, A = B, B > A, B >> A or None")
        margin = _MARGINS[found[2]] * (1 if found[1] == "A" else -1)
        return cls(margin, found[2] in ("<", "<<"))


@dataclass(frozen=True)
class Game:
    """Two models, and a vote between them."""

    a: str
    b: str
    vote: Vote


def history(games: Iterable[Game], *, start: float = START, k: float = K) -> list[dict[str, float]]:
    """Ratings of every model after each game; a model that has not played yet has the first rating.

    A win counts 1 whatever its margin; a tie counts one half, and so does `None`, as published.
    """
    games = list(games)
    ratings = {name: start for game in games for name in (game.a, game.b)}
    found = []
    for game in games:
        margin = game.vote.margin or 0
        scored = 0.5 if margin == 0 else float(margin > 0)
        expected = 1 / (1 + 10 ** ((ratings[game.b] - ratings[game.a]) / 400))
        moved = k * (scored - expected)
        ratings[game.a] += moved
        ratings[game.b] -= moved
        found.append(dict(ratings))
    return found


def ratings(games: Iterable[Game], *, start: float = START, k: float = K) -> dict[str, float]:
    """The ratings after the last game, the best first; every category of a study is rated by itself."""
    steps = history(games, start=start, k=k)
    return dict(sorted(steps[-1].items(), key=lambda item: -item[1])) if steps else {}


def difference(one: Vote, other: Vote, *, as_published: bool = False) -> int | None:
    """How far two votes on one pair are apart, 0 to 3; None where either listener chose neither.

    Votes for one side are 0 apart however strong; against a tie a strong vote is 2, another 1; votes for opposite sides
    are 3 where either is strong, else 2.

    Args:
        as_published: of `B >> A` beside `A > B` or `A = B` the published table says nothing.
    """
    if one.margin is None or other.margin is None:
        return None
    low, high = sorted((one.margin, other.margin))
    if as_published and low == -2 and high in (0, 1) and not _of_margin(one, other, -2).loser_first:
        return None
    if low * high > 0 or low == high:
        return 0
    strong = max(abs(low), abs(high)) == 2
    return (2 if strong else 1) if low * high == 0 else (3 if strong else 2)


def opposed(one: Vote, other: Vote) -> bool | None:
    """Whether two votes are for opposite sides; None where either listener chose neither."""
    if one.margin is None or other.margin is None:
        return None
    return one.margin * other.margin < 0


def agreement(pairs: Sequence[tuple[Vote, Vote]], *, as_published: bool = False) -> float:
    """Mean of (3 - difference) / 3 over the pairs that can be compared; nan without any."""
    found = [difference(one, other, as_published=as_published) for one, other in pairs]
    apart = [each for each in found if each is not None]
    return sum((3 - each) / 3 for each in apart) / len(apart) if apart else float("nan")


def kappa(agreed: float, chance: float = CHANCE) -> float:
    """Agreement beyond chance, as a share of what chance leaves."""
    return (agreed - chance) / (1 - chance)


def _of_margin(one: Vote, other: Vote, margin: int) -> Vote:
    return one if one.margin == margin else other
