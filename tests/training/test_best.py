"""`trainer.monitor`: what is watched must be measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from suite.errors import InputError
from suite.training import TrainerConfig, fit, loader
from tests.training.toys import Language, Noisy, Rows, pad

WATCHED = TrainerConfig(accelerator="cpu", monitor="val/loss", mode="min", patience=3)


class Empty(Rows):
    def val_dataloader(self) -> DataLoader:
        return DataLoader(Noisy(0), 3, collate_fn=pad)


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (Empty(8), {}),
        (Rows(8), {"limit_val_batches": 0}),
        (loader(Noisy(8), 4, collate_fn=pad), {}),
    ],
    ids=["empty", "limited", "none"],
)
def test_watching_what_no_validation_measures_is_refused(tmp_path: Path, data: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"trainer\.monitor is val/loss, and the run validates nothing") as caught:
        fit(Language(), data, dataclasses.replace(WATCHED, **changes), folder=tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_first_epoch_without_validation_is_no_run_without_one(tmp_path: Path) -> None:
    config = dataclasses.replace(WATCHED, max_epochs=2, val_every=2.0)
    assert "val/loss" in fit(Language(), Rows(8), config, folder=tmp_path / "run").metrics


class Broken(Language):
    """Its validation gives no number."""

    def compute(self, batch: Any) -> Any:
        outputs = super().compute(batch)
        outputs.loss = outputs.loss if self.training else outputs.loss * float("nan")
        return outputs


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [(Broken(), {}), (Language(), {"max_steps": 1})],
    ids=["nan", "before the first validation"],
)
def test_a_run_that_measured_nothing_says_which_weights_it_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: Language, changes: dict[str, Any]
) -> None:
    fit(recipe, Rows(8), dataclasses.replace(WATCHED, **changes), folder=tmp_path / "run")
    assert "no validation gave a number for val/loss; the last weights are kept" in capsys.readouterr().err
