"""Music against the authors' code: distances, divergences, ratings and agreement."""

from __future__ import annotations

import numpy as np
import pytest

from domains.music.metrics import elo
from domains.music.metrics.divergence import kl_by_name, kl_sigmoid, kl_softmax
from domains.music.metrics.frechet import frechet
from tests.golden.registry import Case, kind


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-6)


@kind("music/metrics")
def metrics(case: Case) -> None:
    given, wanted = case.json()["input"], case.json()["output"]
    one, other = np.array(given["embeddings_a"]), np.array(given["embeddings_b"])
    assert frechet(one, other) == near(wanted["frechet_standard"])
    assert frechet(one, other) == near(wanted["frechet_panns_style"])
    assert frechet(one, other, as_published=True) == near(wanted["frechet_published_rowvar_true_equal_n"])
    targets, generated = np.array(given["kl_logits_target"]), np.array(given["kl_logits_generated"])
    official = {f"kl_{name.rpartition('_')[2]}": value for name, value in wanted["kl"].items()}
    assert kl_softmax(targets, generated) == near(official["kl_softmax"])
    assert kl_sigmoid(targets, generated) == near(official["kl_sigmoid"])
    order = [3, 0, 4, 1, 2]
    by_name, _ = kl_by_name(
        {f"{place}.wav": targets[place] for place in order},
        {f"{place}.wav": row for place, row in enumerate(generated)},
    )
    assert by_name == {name: near(value) for name, value in official.items()}
    _ratings(given["elo"], wanted["elo_history"])
    _agreement(given, wanted)


def _ratings(given: dict, wanted: list[dict[str, float]]) -> None:
    """The published script takes no note of votes that name the loser first: ours does, and rates the others alike."""
    parsed = [elo.Vote.of(text) for _, text in given["games"]]
    games = [elo.Game(*names, vote) for (names, _), vote in zip(given["games"], parsed, strict=True)]
    steps = iter(elo.history([g for g in games if not g.vote.loser_first], start=given["start"], k=given["k"]))
    now: dict[str, float] = {}
    for vote, expected in zip(parsed, wanted, strict=True):
        if not vote.loser_first:
            now = next(steps)
        assert now == {name: near(value) for name, value in expected.items()}
    assert elo.ratings(games) != elo.ratings([game for game in games if not game.vote.loser_first])


def _agreement(given: dict, wanted: dict) -> None:
    votes = [elo.Vote.of(text) for text in given["annotations"]]
    for place, one in enumerate(votes):
        for column, other in enumerate(votes):
            official = wanted["iaa_distance_matrix"][place][column]
            assert elo.difference(one, other, as_published=True) == (None if official < 0 else official)
            if official >= 0:
                assert elo.difference(one, other) == official
                assert elo.opposed(one, other) == bool(wanted["iaa_direction_matrix"][place][column])
    pairs = [(elo.Vote.of(one), elo.Vote.of(other)) for one, other in given["iaa_pairs"]]
    agreed = elo.agreement(pairs, as_published=True)
    assert agreed == near(wanted["iaa_agreement"])
    assert elo.kappa(agreed) == near(wanted["iaa_kappa_baseline_0_55"])
