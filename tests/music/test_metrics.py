"""Distances, divergences, chroma, ratings and agreement: properties, traps, and what a small set is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from domains.music.metrics import elo
from domains.music.metrics.chroma import chroma, chroma_cosine
from domains.music.metrics.divergence import Pairs, kl_by_name, kl_softmax
from domains.music.metrics.frechet import frechet, small_sample
from suite.errors import InputError


def sets(one: int = 60, other: int = 50, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(one, dim)), rng.normal(0.5, 2.0, size=(other, dim)) @ rng.normal(size=(dim, dim))


def test_the_distance_is_its_formula() -> None:
    one, other = sets()
    gap = one.mean(0) - other.mean(0)
    first, second = np.cov(one.T), np.cov(other.T)
    root = linalg.sqrtm(first @ second)
    wanted = gap @ gap + np.trace(first + second - 2 * root.real)
    assert frechet(one, other) == pytest.approx(wanted, rel=1e-9)
    assert frechet(one, other) == pytest.approx(frechet(other, one), rel=1e-9)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet(one, one + 3) == pytest.approx(9 * one.shape[1], rel=1e-9)


def test_sets_smaller_than_their_dimensions_have_a_finite_distance_and_are_told() -> None:
    one, other = sets(4, 3, 20)
    assert np.isfinite(frechet(one, other))
    assert "singular" in str(small_sample("VGGish", 4, 20))
    assert "biased upwards" in str(small_sample("VGGish", 100, 20))
    assert small_sample("VGGish", 5000, 128) is None
    with pytest.raises(ValueError, match="no two embeddings"):
        frechet(one[:1], other)


def test_as_published_is_another_figure_and_cuts_the_larger_set() -> None:
    one, other = sets()
    published = frechet(one, other, as_published=True)
    assert published == pytest.approx(frechet(one[:50], other, as_published=True))
    assert published > 2 * frechet(one, other) or published < frechet(one, other) / 2


def test_divergence_matches_by_name_whatever_the_order() -> None:
    rng = np.random.default_rng(1)
    targets = {f"{name}.wav": rng.normal(size=6) for name in "abcd"}
    generated = {f"{name}.wav": rng.normal(size=6) for name in "dcbae"}
    figures, pairs = kl_by_name(targets, generated)
    turned, _ = kl_by_name(dict(reversed(targets.items())), dict(reversed(generated.items())))
    assert figures == turned
    names = sorted(targets)
    assert figures["kl_softmax"] == pytest.approx(
        kl_softmax(np.stack([targets[n] for n in names]), np.stack([generated[n] for n in names]))
    )
    assert pairs.only_generated == ("e.wav",)
    assert pairs.notice() == "4 pairs of one name; without a partner are 0 targets and 1 generated files, e.g. e.wav"
    assert kl_by_name({"a": np.ones(3)}, {"b": np.ones(3)}) == ({}, Pairs((), ("a",), ("b",)))
    same = np.zeros((3, 4))
    assert kl_softmax(same, same) == pytest.approx(0, abs=1e-4)


def test_chroma_hears_pitch_classes_and_not_octaves() -> None:
    rate = 16000
    seconds = np.arange(2 * rate) / rate

    def chord(*hertz: float) -> np.ndarray:
        return sum(np.sin(2 * np.pi * one * seconds) for one in hertz)[None] / len(hertz)

    found = chroma(chord(440.0), rate)
    assert found.mean(0).argmax() == 9  # A
    assert chroma_cosine((chord(220.0), rate), (chord(880.0), rate)) > 0.95
    assert chroma_cosine((chord(440.0), rate), (chord(466.16), rate)) < 0.2
    assert chroma_cosine((chord(440.0), rate), (np.zeros((1, rate)), rate)) == 0
    assert chroma(np.zeros((1, 100)), rate).shape == (1, 12)


# Votes


def games(*votes: str) -> list[elo.Game]:
    return [elo.Game("old", "new", elo.Vote.of(vote)) for vote in votes]


def test_both_spellings_of_a_vote_count_the_same() -> None:
    assert elo.Vote.of("A < B").margin == elo.Vote.of("B > A").margin == -1
    assert elo.Vote.of("b<<a").margin == elo.Vote.of("A >> B").margin == 2
    assert elo.ratings(games("A < B", "B << A")) == elo.ratings(games("B > A", "A >> B"))
    for wrong in ("A", "A >>> B", "A > A", "C > A", "better"):
        with pytest.raises(InputError, match="give A >> B"):
            elo.Vote.of(wrong)


def test_ratings_start_anew_for_every_question() -> None:
    steps = elo.history(games("A > B"))
    assert steps == [{"old": 1507.5, "new": 1492.5}]
    assert sum(elo.history(games("A > B", "A = B", "None", "B > A"))[-1].values()) == pytest.approx(3000)
    assert elo.ratings([]) == {}


def test_agreement_of_listeners() -> None:
    def agreed(*pairs: tuple[str, str]) -> float:
        return elo.agreement([(elo.Vote.of(one), elo.Vote.of(other)) for one, other in pairs])

    assert agreed(("A > B", "A >> B"), ("A = B", "A = B")) == 1
    assert agreed(("A > B", "B >> A")) == 0
    assert agreed(("A > B", "B > A")) == pytest.approx(1 / 3)
    assert agreed(("A = B", "B > A"), ("None", "A > B")) == pytest.approx(2 / 3)
    assert np.isnan(agreed(("None", "A > B")))
    assert elo.kappa(0.55) == 0 and elo.kappa(1.0) == pytest.approx(1)
    one, other = elo.Vote.of("A > B"), elo.Vote.of("B >> A")
    assert elo.difference(one, other) == elo.difference(other, one) == 3
    assert elo.difference(one, other, as_published=True) is None
    assert elo.opposed(one, other)
