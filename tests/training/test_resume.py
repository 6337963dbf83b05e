"""A run that was killed and resumed is the run that was never killed, to the last bit."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from suite.errors import InputError
from suite.training import Interrupted, TrainerConfig, fit
from tests.training.toys import HARD, Dead, Language, Mortal, Noisy, Rows, pad


def trained(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


def assert_equal(one: Path, other: Path) -> None:
    first, second = trained(one), trained(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert logged(one) == logged(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return fit(Language(), Rows(), HARD, folder=folder).folder


@pytest.mark.timeout(900)
def test_sigkill_in_the_middle_of_a_run(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tests.training.toys", str(folder), "10"]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert json.loads((folder / "run.json").read_text())["status"] == "running" and not (folder / "adapter").exists()
    fit(Language(), Rows(), HARD, resume=folder)
    assert_equal(folder, whole)


# Batch 1: before anything was saved; 4: inside accumulation; 5: after a validation inside the epoch; 7: the first
# batch of an epoch; 14: later, inside accumulation.
@pytest.mark.parametrize("fatal", [5, 14, *(pytest.param(batch, marks=pytest.mark.slow) for batch in (1, 4, 7))])
def test_death_anywhere(whole: Path, tmp_path: Path, fatal: int) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Dead):
        fit(Mortal(fatal), Rows(), HARD, folder=folder)
    fit(Language(), Rows(), HARD, resume=folder)
    assert_equal(folder, whole)


def test_death_after_an_epoch_of_a_run_that_counts_steps(tmp_path: Path) -> None:
    config = dataclasses.replace(HARD, max_epochs=-1, max_steps=7)
    plain = fit(Language(), Rows(), config, folder=tmp_path / "plain").folder
    with pytest.raises(Dead):
        fit(Mortal(8), Rows(), config, folder=tmp_path / "killed")
    fit(Language(), Rows(), config, resume=tmp_path / "killed")
    assert_equal(tmp_path / "killed", plain)


def test_workers_change_nothing_and_resume_too(tmp_path: Path) -> None:
    config = dataclasses.replace(HARD, ema=None, monitor=None, limit_val_batches=0, max_epochs=2)
    plain = fit(Language(), Rows(buckets=True), config, folder=tmp_path / "plain").folder
    with pytest.raises(Dead):
        fit(Mortal(9), Rows(buckets=True, num_workers=2), config, folder=tmp_path / "killed")
    fit(Language(), Rows(buckets=True, num_workers=2), config, resume=tmp_path / "killed")
    assert_equal(tmp_path / "killed", plain)


def test_ctrl_c_saves_says_how_to_resume_and_resumes(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(Language):
        seen = 0

        def compute(self, batch):
            self.seen += self.training
            if self.training and self.seen == 9:
                signal.raise_signal(signal.SIGINT)
            return super().compute(batch)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted) as caught:
        fit(Impatient(), Rows(), dataclasses.replace(HARD, checkpoint_every=1000), folder=folder)
    assert caught.value.folder == folder and isinstance(caught.value, KeyboardInterrupt)
    assert f"--resume {folder}" in capsys.readouterr().err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(Language(), Rows(), HARD, resume=folder)
    assert_equal(folder, whole)


def test_resuming_on_other_data_or_with_another_recipe_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Dead):
        fit(Mortal(9), Rows(), HARD, folder=folder)
    with pytest.raises(InputError, match="started on 22 samples and now finds 30"):
        fit(Language(), Rows(size=30), HARD, resume=folder)

    class Other(Language):
        def build(self):
            model = super().build()
            model.lm_head.weight.requires_grad_(True)
            return model

    with pytest.raises(InputError, match="checkpoint is of another recipe"):
        fit(Other(), Rows(), HARD, resume=folder)


def test_a_loader_that_cannot_resume_is_refused(tmp_path: Path) -> None:
    sampler = torch.utils.data.WeightedRandomSampler([1.0] * 8, 8)
    data = torch.utils.data.DataLoader(list(range(8)), sampler=sampler)
    with pytest.raises(InputError, match="cannot resume"):
        fit(Language(), data, TrainerConfig(), folder=tmp_path / "run")

    class Plain(Rows):
        def train_dataloader(self) -> torch.utils.data.DataLoader:
            return torch.utils.data.DataLoader(Noisy(8), 4, shuffle=True, collate_fn=pad)

    with pytest.raises(InputError, match=r"gives a DataLoader, which cannot resume .* suite\.training\.loader"):
        fit(Language(), Plain(), TrainerConfig(), folder=tmp_path / "plain")


def test_a_plain_loader_given_to_fit_is_rebuilt_so_that_it_resumes(tmp_path: Path) -> None:
    config = dataclasses.replace(HARD, monitor=None, limit_val_batches=0)
    data = torch.utils.data.DataLoader(Noisy(22), 4, shuffle=True, collate_fn=pad)
    plain = fit(Language(), data, config, folder=tmp_path / "plain").folder
    with pytest.raises(Dead):
        fit(Mortal(9), data, config, folder=tmp_path / "killed")
    fit(Language(), data, config, resume=tmp_path / "killed")
    assert_equal(tmp_path / "killed", plain)
