"""The shipped recipe from three seeds: what it teaches, and what it leaves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from domains.music.inference.loaded import load
from domains.music.tiny import measuring
from suite.hub import paths
from suite.training.config import load_config
from suite.training.experiment import run

SEEDS = (42, 43, 44)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_every_seed_learns_the_raga_and_keeps_the_old_genres(tmp_path: Path) -> None:
    shipped = load_config(paths.assets() / "configs" / "music" / "tiny.yaml")
    adapted, frozen = [], []
    for seed in SEEDS:
        done = run(dataclasses.replace(shipped, seed=seed), run_dir=tmp_path / str(seed))
        composer = load(str(done.adapter), "tiny")
        adapted.append(measuring.measure(composer, seed, frozen=False))
        frozen.append(measuring.measure(composer, seed, frozen=True))
    found = measuring.summary(adapted, frozen)
    assert min(found["gain"].values()) > 3
    for before, after in zip(frozen, adapted, strict=True):
        assert after["frechet"] < before["frechet"]
        for name in ("old_in_scale", "old_in_cycle"):
            assert after[name] > 0.9 * before[name]
