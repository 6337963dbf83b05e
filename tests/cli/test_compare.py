"""Several methods under one budget: their table, how far they agree, and what they reach together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from suite.errors import InputError
from suite.training.config import load_config
from suite.training.drivers.comparison import MethodRow
from suite.training.drivers.study import Answers, memory_of, opened, planned_config, together

ROOT = Path(__file__).parents[2]


def answers(*predicted: int, target: tuple[int, ...] = (0, 1, 2, 2)) -> Answers:
    """One member that is sure of what it predicts, a little."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    return Answers(logits, torch.tensor(target))


def row(method: str) -> MethodRow:
    return MethodRow(method, (0,), 1, 4, 1.0, {}, {}, {})


def test_agreement_and_ensemble_are_counted_over_seeds() -> None:
    found = {("a", 0): answers(0, 1, 2, 0), ("b", 0): answers(0, 1, 0, 2), ("c", 0): answers(0, 0, 2, 2)}
    made = together([row(name) for name in "abc"], found, "abc", [0])
    assert made.agreement["a"] == {"a": 1.0, "b": 0.5, "c": 0.5}
    assert made.both_wrong["a"] == {"a": 0.25, "b": 0.0, "c": 0.0}
    assert (made.ensemble, made.gain) == (1.0, 0.25)  # each errs elsewhere
    alone = together([row("a")], {}, "a", [0])
    assert alone.agreement == {} and alone.ensemble is None  # a task without classes


@pytest.fixture(scope="module")
def config():
    tiny = load_config(ROOT / "configs" / "deepfake" / "tiny.yaml")
    data = {**tiny.data, "train": "faces:train:8", "val": "faces:val:8", "batch_size": 4}
    trainer = dataclasses.replace(tiny.trainer, max_epochs=-1, max_steps=2, val_every=1.0)
    return dataclasses.replace(tiny, data=data, trainer=trainer)


def test_a_method_takes_the_place_of_the_tasks_own(config) -> None:
    assert planned_config(config, "clip-ln").recipe["adapter"] == {"preset": "clip-ln"}
    assert planned_config(config, "bitfit@0.5").trainer.lr == 0.5
    assert planned_config(config, "loreft").recipe["adapter"] == {"method": "loreft"}
    targets = planned_config(config, "ssf").recipe["adapter"]["targets"]
    assert "self_attn.q_proj" in targets and all("layers" not in name for name in targets)
    with pytest.raises(InputError, match="lora@fast: 'fast' is no learning rate"):
        planned_config(config, "lora@fast")
    with pytest.raises(InputError, match=r"kronna does not fit deepfake: .*did you mean 'krona'"):
        planned_config(config, "kronna")
    with pytest.raises(InputError, match=r"clip-ln does not fit deepfake: .*nowhere"):  # not: no method of this name
        planned_config(dataclasses.replace(config, base="nowhere"), "clip-ln")


def test_a_preset_that_the_small_base_is_too_small_for_keeps_the_tasks_settings() -> None:
    config = load_config(ROOT / "configs" / "personalized_diffusion" / "tiny.yaml")
    assert planned_config(config, "diffusekrona").recipe["adapter"]["factors"] == [8, 2]


def test_compare_trains_once_and_writes_its_table_and_picture(config, suite, tmp_path: Path, monkeypatch) -> None:
    from suite.cli import compare

    monkeypatch.setattr(compare, "_experiment", lambda *_: config)
    words = ("compare", "clip-ln", "dra", "--domain", "deepfake", "--seeds", "0", "--out", str(tmp_path / "out"))
    shown = suite(*words)
    assert shown.code == 0, shown.err
    assert "two methods predict the same in" in shown.out and "all together reach" in shown.out
    made = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [line["method"] for line in made["rows"]] == ["clip-ln", "dra"]
    assert all(0 <= line["metrics"]["accuracy"] <= 1 and line["metrics"]["kept_bytes"] > 0 for line in made["rows"])
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000

    def never(*_: object, **__: object) -> None:
        raise AssertionError("what is finished is not trained again")

    monkeypatch.setattr("suite.training.drivers.comparison.run", never)
    ranked = suite(*words, "--metric", "val/auroc_video")
    assert ranked.code == 0 and ranked.out.split()[:2] == ["method", "val/auroc_video"]
    wrong = suite(*words, "--metric", "val/aurocs")
    assert wrong.code == 2 and "did you mean val/auroc" in wrong.err


def test_adapters_in_turn_are_scored_together_on_held_out_documents(suite, tmp_path: Path) -> None:
    config = tmp_path / "few.yaml"
    text = (ROOT / "configs" / "relation_extraction" / "tiny.yaml").read_text()
    config.write_text(text.replace("tiny:train:1200", "tiny:train:24").replace("tiny:val:40", "tiny:val:2"))
    words = ("compare", "lora", "ia3", "--domain", "relation_extraction", "--config", str(config), "--seeds", "0")
    found = suite(*words, "--steps", "1", "--out", str(tmp_path / "out"))
    assert found.code == 0, found.err
    made = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert made["metric"] == "F1" and made["ensemble"] is None
    steps = (tmp_path / "out" / "lora-0" / "relation" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] <= 1 for line in steps)  # the budget goes before the stages' own ends
    for row in made["rows"]:
        assert 0 <= row["metrics"]["F1"] <= 1 and row["metrics"]["kept_bytes"] > 0
    assert found.out.split()[:2] == ["method", "F1"]
    assert (tmp_path / "out" / "comparison.png").is_file()


def test_a_step_of_every_tasks_recipe_is_weighed_without_a_trainer() -> None:
    config = load_config(ROOT / "configs" / "personalized_diffusion" / "tiny.yaml")
    few = {**config.data, "class_images": 2, "batch_size": 1}
    config = planned_config(dataclasses.replace(config, data=few), "lora")
    assert memory_of(*opened(config), seed=0) > 2**20


def test_rows_are_ranked_by_what_the_task_watches() -> None:
    rows = [MethodRow(name, (0,), 1, 4, 1.0, {"val/loss": loss}, {}, {}) for name, loss in (("a", 2.0), ("b", 1.0))]
    by_loss = dataclasses.replace(together(rows, {}, "ab", [0]), metric="val/loss", lower=True)
    assert [row.method for row in by_loss.ranked()] == ["b", "a"]
    assert [row.method for row in dataclasses.replace(by_loss, lower=False).ranked()] == ["a", "b"]


def test_data_without_anything_to_score_on_are_refused_before_any_training(suite, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "personalized_diffusion" / "tiny.yaml").read_text()
    config = tmp_path / "own.yaml"
    config.write_text(text.replace("noun: robot", "noun: teapot"))
    words = ("compare", "lora", "--domain", "personalized_diffusion", "--steps", "1", "--seeds", "0")
    found = suite(*words, "--config", str(config), "--out", str(tmp_path / "out"))
    assert found.code == 2 and "no held-out photos of this subject" in found.err
    config.write_text(
        (ROOT / "configs" / "deepfake" / "tiny.yaml").read_text().replace("\n  val: ", "\n  val: null  # ")
    )
    words = ("compare", "bitfit", "--domain", "deepfake", "--steps", "1", "--seeds", "0", "--config", str(config))
    found = suite(*words, "--out", str(tmp_path / "out"))
    assert found.code == 2 and "no validation part" in found.err
    assert not (tmp_path / "out").exists()


def test_two_ends_are_one_too_many(suite) -> None:
    found = suite("compare", "lora", "--domain", "deepfake", "--steps", "1", "--epochs", "1")
    assert found.code == 2 and "both say where training ends" in found.err
