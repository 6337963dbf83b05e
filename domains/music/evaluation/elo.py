"""The verb `elo`: ratings of models from listeners' votes, each question by itself, and how far listeners agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.music.metrics.elo import Game

QUESTIONS = ("overall", "instruments", "melody", "rhythm", "creativity")
"""What listeners were asked in the published study."""


@dataclass(frozen=True)
class Ballot:
    """One vote: on which question, by whom, on which pair."""

    question: str
    listener: str
    item: str
    game: Game


def elo(
    votes: Path,
    *,
    start: float = 1500.0,
    k: float = 15.0,
    chance: float = 0.55,
    out: Path | None = None,
) -> dict[str, Any]:
    """Rate models by listeners' votes, each question by itself.

    The table has a pair a row: `a`, `b` (the models) and either `vote` (with `question` where there are several) or a
    column for each question (overall, instruments, melody, rhythm, creativity). A vote reads `A >> B`, `A > B`,
    `A = B`, `B > A`, `B >> A` or `None`; `A < B` and `B << A` mean what they say, which the published script ignored.
    With `listener` (and `item`, what was heard), agreement of the listeners is said too.

    Args:
        votes: the table, CSV or TSV.
        start: rating that every model begins with.
        k: how far one vote moves it.
        chance: agreement of listeners who guess, as published.
        out: folder for the ratings, their course and report.html.

    Raises:
        InputError: the table lacks a column, or a vote is none.
    """
    from domains.music.metrics import elo as rating
    from suite.media import plots
    from suite.scores import Scores

    if not 0 < k < math.inf:
        _refuse(f"k is {k:g}; give more than 0, e.g. 15")
    if not math.isfinite(start):
        _refuse(f"start is {start:g}; give a rating, e.g. 1500")
    if not 0 <= chance < 1:
        _refuse(f"chance is {chance:g}; give a share below 1, e.g. 0.55")
    ballots = read_votes(votes)
    rows, curves, agreements = [], {}, {}
    for question in dict.fromkeys(one.question for one in ballots):
        own = [one for one in ballots if one.question == question]
        steps = rating.history([one.game for one in own], start=start, k=k)
        final = sorted(steps[-1].items(), key=lambda item: -item[1])
        for name, value in final:
            heard = sum(name in (one.game.a, one.game.b) for one in own)
            rows.append({"question": question, "model": name, "rating": round(value, 1), "votes": heard})
        if question == ballots[0].question:
            curves = {name: [(place + 1.0, step[name]) for place, step in enumerate(steps)] for name, _ in final}
        if pairs := _double(own):
            agreed = rating.agreement(pairs)
            agreements[question] = {"agreement": agreed, "kappa": rating.kappa(agreed, chance), "pairs": len(pairs)}
    metrics: dict[str, Any] = {
        "ratings": {
            question: {row["model"]: row["rating"] for row in rows if row["question"] == question}
            for question in _questions(rows)
        }
    }
    if agreements:
        metrics["agreement"] = agreements
    notices = _notices(ballots)
    drawn = {
        f"Ratings over the votes, {ballots[0].question}": lambda folder: [
            plots.save(plots.curves(curves, x="vote", y="ELO rating"), folder / "ratings.png")
        ]
    }
    scores = Scores(
        metrics,
        {"votes": len(ballots), "first rating": start, "k": k},
        title="Listeners' votes",
        tables={"ratings": rows, "agreement": [{"question": q, **found} for q, found in agreements.items()]},
        pictures=drawn,
        notices=tuple(notices),
        message="\n".join(_lines(rows, agreements)),
    )
    return scores.answer(out)


def read_votes(path: Path) -> list[Ballot]:
    """The votes of a table, in its order.

    Raises:
        InputError: it lacks a column, or a vote is none; with its line.
    """
    from domains.music.data.readers.texts import rows_of
    from domains.music.metrics.elo import Game, Vote
    from suite.errors import InputError

    columns, rows = rows_of(path)
    asked = [name for name in QUESTIONS if name in columns]
    if not {"a", "b"} <= set(columns) or not ("vote" in columns or asked):
        held = ", ".join(columns) or "nothing"
        raise InputError(
            f"{path}: line 1 names {held}; the columns a, b and vote (or {', '.join(QUESTIONS)}) are needed"
        )
    found: list[Ballot] = []
    for line, cells in rows:
        if not cells["a"] or not cells["b"] or cells["a"] == cells["b"]:
            raise InputError(f"{path}: line {line}: a and b name two models, not {cells['a']!r} alone")
        questions = {"vote": cells.get("question") or "overall"} if "vote" in columns else {one: one for one in asked}
        item = cells.get("item") or f"{cells['a']} / {cells['b']}"
        for column, question in questions.items():
            try:
                vote = Vote.of(cells[column])
            except InputError as error:
                raise InputError(f"{path}: line {line}: {error}") from None
            found.append(Ballot(question, cells.get("listener", ""), item, Game(cells["a"], cells["b"], vote)))
    if not found:
        raise InputError(f"{path}: holds no vote")
    return found


def _double(ballots: Sequence[Ballot]) -> list[tuple[Any, Any]]:
    """Votes of two listeners on one pair, every two of them, both as if the models stood in the same order."""
    by_item: dict[tuple[str, frozenset[str]], list[Ballot]] = {}
    for one in ballots:
        if one.listener:
            by_item.setdefault((one.item, frozenset((one.game.a, one.game.b))), []).append(one)
    found = []
    for heard in by_item.values():
        for one, other in combinations(heard, 2):
            if one.listener != other.listener:
                found.append((one.game.vote, _turned(other, one.game.a).vote))
    return found


def _turned(one: Ballot, first: str) -> Game:
    from domains.music.metrics.elo import Game, Vote

    game = one.game
    if game.a == first or game.vote.margin is None:
        return game
    return Game(game.b, game.a, Vote(-game.vote.margin))


def _notices(ballots: Iterable[Ballot]) -> list[str]:
    from domains.music.data.captions import numbered
    from suite.tables import counted

    ballots = list(ballots)
    found = []
    if turned := sum(one.game.vote.loser_first for one in ballots):
        found.append(
            f"{numbered(turned, 'votes name the loser first')} (A < B); unlike in the published script they count"
        )
    if neither := sum(one.game.vote.margin is None for one in ballots):
        found.append(f"{numbered(neither, 'votes are None')}, a tie as published")
    if len(ballots) < 100:
        found.append(f"{counted(len(ballots), 'vote')}; ELO depends on their order, and much so with few")
    return found


def _lines(rows: Sequence[Mapping[str, Any]], agreements: Mapping[str, Mapping[str, float]]) -> list[str]:
    from suite.tables import counted

    lines = []
    for question in _questions(rows):
        shown = ", ".join(f"{row['model']} {row['rating']:.1f}" for row in rows if row["question"] == question)
        lines.append(f"{question}: {shown}")
    for question, found in agreements.items():
        pairs = counted(int(found["pairs"]), "pair")
        lines.append(f"{question}: listeners agree {found['agreement']:.3f} (kappa {found['kappa']:.3f}, {pairs})")
    return lines


def _questions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(row["question"]) for row in rows))


def _refuse(why: str) -> None:
    from suite.errors import InputError

    raise InputError(why)
