"""A recipe meets its data once, before anything is loaded or built, whoever trains or evaluates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from suite.training import ExperimentConfig, TrainerConfig, evaluate, fit, loader, run
from tests.training.toys import Language, Noisy, Rows, Voice, pad

BRIEF = TrainerConfig(max_steps=1, seed=7, limit_val_batches=0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was called of every recipe, in order."""
    seen: list[tuple[str, Any]] = []

    def bind(self: Language | Voice, data: L.LightningDataModule) -> None:
        seen.append(("bind", self.settings.seed))
        assert not hasattr(self, "model")

    for recipe in (Language, Voice):
        monkeypatch.setattr(recipe, "bind", bind, raising=False)
    monkeypatch.setattr(Language, "prepare", lambda self: seen.append(("prepare", None)))
    monkeypatch.setattr(Language, "driver", lambda self, data: seen.append(("driver", None)))
    return seen


def test_run_and_evaluate_bind_once_before_they_prepare(toys: Path, calls: list[tuple[str, Any]]) -> None:
    config = ExperimentConfig("toys", seed=7, trainer=BRIEF)
    done = run(config)
    assert calls == [("bind", 7), ("driver", None), ("prepare", None)]
    calls.clear()
    evaluate(ExperimentConfig("toys", seed=7), done.adapter)
    assert [call for call in calls if call[0] != "driver"] == [("bind", 7), ("prepare", None)]


def test_fit_binds_a_data_module_anew_where_data_or_settings_are_new(
    tmp_path: Path, calls: list[tuple[str, Any]]
) -> None:
    fit(Language(), loader(Noisy(4), 2, collate_fn=pad), BRIEF, folder=tmp_path / "loader")
    assert calls == [("prepare", None)]
    recipe, data = Language(), Rows(4)
    recipe.meet(BRIEF, data)
    fit(recipe, data, BRIEF, folder=tmp_path / "run")
    assert calls[1:] == [("bind", 7), ("prepare", None)]


def test_every_stage_is_bound_to_its_own_data(toys: Path, calls: list[tuple[str, Any]]) -> None:
    run(ExperimentConfig("toys", task="staged", seed=7, trainer=BRIEF))
    assert [call[0] for call in calls] == ["bind", "bind"]
