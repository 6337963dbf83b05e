"""Experiments from their configuration: folders, resuming by name, several adapters in turn, evaluating."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from suite import adapters
from suite.errors import InputError
from suite.training import ExperimentConfig, TrainerConfig, data_of, evaluate, load_config, recipe_of, run
from tests.training.toys import tiny_llama

SHORT = TrainerConfig(max_steps=3, lr=1e-2, limit_val_batches=0)


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def test_a_run_names_its_folder_and_its_config_reproduces_it(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(ExperimentConfig("toys", seed=5, recipe={"r": 3}, trainer=SHORT, source=Path("voice.yaml")))
    assert result.folder.parent == Path("runs/toys") and result.folder.name.endswith("-voice")
    assert str(result.adapter) in capsys.readouterr().err
    config = load_config(result.folder / "config.yaml")
    assert config.recipe == {"r": 3, "dropout": 0.1} and config.data["batch_size"] == 4
    again = run(config, run_dir=toys / "again")
    first, second = weights(result.adapter), weights(again.adapter)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sections_that_do_not_fit_the_classes_are_refused(toys: Path) -> None:
    for config, message in (
        (ExperimentConfig("toys", recipe={"rank": 3}), "recipe: unknown key 'rank'"),
        (ExperimentConfig("toys", data={"batchsize": 3}), "data: unknown key 'batchsize'; did you mean batch_size"),
        (ExperimentConfig("toys", data={"size": "many"}), "data.size is many; give a whole number"),
        (ExperimentConfig("toys", task="plan"), "unknown key 'plan'; did you mean plain"),
        (ExperimentConfig("toy"), "did you mean toys"),
    ):
        with pytest.raises(InputError, match=message):
            recipe_of(config)
            data_of(config)


def test_resuming_needs_a_run_and_a_used_folder_is_not_overwritten(toys: Path) -> None:
    config = ExperimentConfig("toys", trainer=SHORT)
    with pytest.raises(InputError, match="no unfinished run"):
        run(config, resume="latest")
    with pytest.raises(InputError, match="is not a run folder"):
        run(config, resume=toys / "nothing")
    done = run(config, run_dir=toys / "done")
    with pytest.raises(InputError, match="already holds a run"):
        run(config, run_dir=toys / "done")
    before = done.adapter.stat().st_mtime_ns
    assert run(config, resume=toys / "done") == done and done.adapter.stat().st_mtime_ns == before


def test_stages_train_adapters_in_turn_on_one_base(toys: Path) -> None:
    config = ExperimentConfig("toys", task="staged", trainer=SHORT)
    result = run(config, run_dir=toys / "both")
    manifest = json.loads((result.adapter / "suite.json").read_text())
    assert [entry["folder"] for entry in manifest["adapters"]] == ["first", "second"]
    assert manifest["domain"] == {"protocol": "two voices"} and manifest["stacked"] is False
    assert (result.folder / "first" / "metrics.jsonl").is_file() and result.report is not None
    assert {"first/train/loss", "second/train/loss"} <= set(result.metrics)
    model = tiny_llama()
    for name in ("first", "second"):
        model = adapters.load(model, result.adapter / name, name=name)
    adapters.activate(model, "first")
    assert adapters.attached(model) == ["first", "second"]


def test_a_finished_stage_is_skipped_and_the_next_one_is_the_same(toys: Path) -> None:
    config = ExperimentConfig("toys", task="staged", trainer=SHORT)
    whole = run(config, run_dir=toys / "whole")
    stopped = run(config, run_dir=toys / "stopped")
    # As if the run had been killed after the first stage.
    state = json.loads((stopped.folder / "run.json").read_text())
    (stopped.folder / "run.json").write_text(json.dumps({**state, "status": "running"}))
    (stopped.folder / "second" / "run.json").unlink()
    before = (stopped.folder / "first" / "adapter").stat().st_mtime_ns
    again = run(config, resume=stopped.folder)
    assert (stopped.folder / "first" / "adapter").stat().st_mtime_ns == before
    one, other = weights(whole.adapter / "second"), weights(again.adapter / "second")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_evaluate_measures_an_adapter_and_the_frozen_base(toys: Path) -> None:
    config = ExperimentConfig("toys", data={"noise": 0.0}, trainer=TrainerConfig(max_epochs=4, lr=3e-2))
    result = run(config)
    trained, frozen = evaluate(config, result.adapter), evaluate(config, None)
    assert trained["val/loss"] == pytest.approx(result.metrics["val/loss"], abs=1e-5)
    assert trained["val/loss"] < frozen["val/loss"] - 0.05
    with pytest.raises(InputError, match="several adapters in turn"):
        evaluate(ExperimentConfig("toys", task="staged"), result.adapter)
