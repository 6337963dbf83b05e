"""Few-shot folds through the command."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.point_cloud.data import world
from domains.point_cloud.data.datasets.fewshot_split import summary
from domains.point_cloud.evaluation.fewshot import fewshot
from domains.point_cloud.model import bases
from suite.errors import InputError
from tests.point_cloud.small import ARCHITECTURE


def write_folds(folder: Path, folds: int) -> Path:
    """Folds as published: tuples of points (N, 6), the fold's label, ModelNet40's label."""
    folder.mkdir()
    for fold in range(folds):
        halves = {"train": part(100 * fold, 8), "test": part(5000 + 100 * fold, 4)}
        (folder / f"{fold}.pkl").write_bytes(pickle.dumps(halves))
    return folder


def part(first: int, shots: int) -> list[tuple]:
    """`shots` clouds of two classes, made from the seed `first` on."""
    return [
        (np.tile(world.make(name, first + shot, 600).points, 2).astype(np.float32), label, 10 + label)
        for label, name in enumerate(("mug", "plane"))
        for shot in range(shots)
    ]


def test_every_fold_gets_an_adapter_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = bases.save_base(bases.build(ARCHITECTURE), tmp_path / "base")
    write_folds(tmp_path / "2way_8shot", 2)
    told = fewshot(tmp_path / "2way8shot", folds=2, epochs=2, base=str(base), out=tmp_path / "runs")
    assert len(told["accuracies"]) == 2
    assert (told["mean"], told["std"]) == summary(told["accuracies"])
    assert "2 folds of 2way_8shot" in told["message"]
    assert all((tmp_path / "runs" / f"fold_{number}" / "adapter").is_dir() for number in range(2))


def test_a_missing_fold_is_named(tmp_path: Path) -> None:
    write_folds(tmp_path / "2way_8shot", 1)
    with pytest.raises(InputError, match=r"lacks 1\.pkl"):
        fewshot(tmp_path / "2way_8shot", folds=3)


@pytest.mark.parametrize("options", [{"folds": 0}, {"epochs": 0}, {"epochs": -1}])
def test_no_fold_and_no_epoch_are_refused(options: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give at least 1"):
        fewshot(write_folds(tmp_path / "2way_8shot", 1), out=tmp_path / "runs", **{"folds": 1, **options})
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_not_there_is_no_folder_that_lacks_folds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        fewshot(tmp_path / "nowhere")
