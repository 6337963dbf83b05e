"""Methods x seeds: trained once, gone on with where they stopped, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suite.errors import InputError
from suite.training import ExperimentConfig, Interrupted, TrainerConfig
from suite.training.drivers import comparison
from suite.training.drivers.comparison import Comparison
from suite.training.folder import RunFolder

TRAINER = TrainerConfig(max_steps=2, lr=1e-2, limit_val_batches=0)
pytestmark = pytest.mark.usefixtures("toys")


def config(method: str, seed: int) -> ExperimentConfig:
    return ExperimentConfig("toys", seed=seed, recipe={"r": {"small": 1, "large": 4}[method]}, trainer=TRAINER)


def test_members_are_trained_once_and_rows_say_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = Comparison(("small", "large"), (1, 2), config, tmp_path)
    members = compared.train()
    assert {key: member.adapter for key, member in members.items()} == {
        (method, seed): (tmp_path / f"{method}-{seed}" / "adapter").resolve()
        for method in ("small", "large")
        for seed in (1, 2)
    }
    assert all(member.seconds > 0 and member.cpu_seconds > 0 for member in members.values())
    small, large = compared.rows(members, {key: {"accuracy": key[1] / 4} for key in members})
    assert (small.method, large.method, small.seeds) == ("small", "large", (1, 2))
    assert large.parameters == 4 * small.parameters > 0
    assert (small.metrics, small.lowest) == ({"accuracy": 0.375}, {"accuracy": 0.25})
    assert small.spread["accuracy"] == pytest.approx(0.1768, abs=1e-4)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("what is finished is not trained again")

    monkeypatch.setattr(comparison, "run", never)
    assert Comparison(("small", "large"), (1, 2), config, tmp_path).train() == members


def test_an_interrupted_member_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stopped(config: ExperimentConfig, run_dir: Path, resume: Path | None) -> None:
        calls.append(resume)
        RunFolder(run_dir).start(config.record())
        raise Interrupted(run_dir)

    monkeypatch.setattr(comparison, "run", stopped)
    for _ in range(2):
        with pytest.raises(Interrupted):
            Comparison(("small",), (1,), config, tmp_path).train()
    assert calls == [None, tmp_path / "small-1"]


@pytest.mark.parametrize(
    ("methods", "seeds", "said"),
    [((), (1,), "at least one method"), (("small",), (), "one seed"), (("small",), (1, 1), "each seed once")],
)
def test_what_makes_no_table_is_refused(methods: tuple, seeds: tuple, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        Comparison(methods, seeds, config, tmp_path)
