"""What adapter methods ask of a training: values in place at every step, buffers kept, terms, schedules."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.carriers import SelectedEntries
from suite.training import Run, TrainerConfig, fit
from tests.training.toys import Dead, Language, Mortal, Rows, tiny_llama

SHORT = TrainerConfig(accelerator="cpu", max_epochs=1, lr=1e-2, log_every=1, limit_val_batches=0)


class Paca(Language):
    """Four columns of two layers."""

    def build(self) -> nn.Module:
        return adapters.attach(tiny_llama(), "paca", targets=["q_proj", "down_proj"], r=4)


def losses(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [value["train/loss"] for value in map(json.loads, lines) if "train/loss" in value]


def test_a_compiled_forward_computes_with_the_values_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses(fit(Paca(), Rows(8, 4, noise=0.0), SHORT, folder=tmp_path / "plain"))
    # What a compiled forward is left with: the product, and no writing of values before it.
    monkeypatch.setattr(SelectedEntries, "_host_forward", lambda self, x: self.product(x, self.present()))
    compiled = losses(fit(Paca(), Rows(8, 4, noise=0.0), SHORT, folder=tmp_path / "compiled"))
    assert compiled == plain
    assert plain[-1] != pytest.approx(plain[0], abs=1e-3)


class Drawn(Mortal):
    """PaCA whose columns fall otherwise the second time: a newer torch, another device."""

    draws = 0

    def build(self) -> nn.Module:
        torch.rand(self.draws)
        return adapters.attach(tiny_llama(), "paca", targets=["q_proj"], r=2)


def test_a_resumed_run_trains_the_columns_that_it_began_with(tmp_path: Path) -> None:
    config, first, second = dataclasses.replace(SHORT, checkpoint_every=1), Drawn(3), Drawn(0)
    second.draws = 1
    with pytest.raises(Dead):
        fit(first, Rows(), config, folder=tmp_path / "run")
    fit(second, Rows(), config, resume=tmp_path / "run")

    def columns(recipe: Drawn) -> list[int]:
        [layer, *_] = [m for m in recipe.model.modules() if getattr(m, "method", "") == "paca"]
        return layer.places("default").tolist()

    assert columns(second) == columns(first)
    second.draws = 0
