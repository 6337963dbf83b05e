"""Going on with a run: what may be different then, what is refused, and that a later end gives the longer run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from suite.errors import InputError
from suite.training import ExperimentConfig, TrainerConfig, batching, fit, load_config, loader, run
from suite.training.batching import ResumableBatches
from suite.training.randomness import seed_of_run
from tests.training.toys import Dead, Language, Mortal, Noisy, Rows, pad

SHORT = TrainerConfig(max_steps=2, max_epochs=-1, lr=1e-2, limit_val_batches=0, scheduler="constant")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine steps of training: an epoch of six batches, and three of the next."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return fit(Language(), Rows(), dataclasses.replace(SHORT, max_steps=9), folder=folder).folder


@pytest.mark.parametrize("first", [2, 6, 8])
def test_a_finished_run_goes_on_to_a_later_end(whole: Path, tmp_path: Path, first: int) -> None:
    config = dataclasses.replace(SHORT, max_steps=first)
    done = fit(Language(), Rows(), config, folder=tmp_path / "run")
    assert fit(Language(), Rows(), config, resume=done.folder) == done
    fit(Language(), Rows(), dataclasses.replace(SHORT, max_steps=9), resume=done.folder)
    assert equal(done.folder, whole)
    steps = [json.loads(line)["step"] for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    with pytest.raises(InputError, match=r"trainer\.max_steps is 4, and .* has got to 9"):
        fit(Language(), Rows(), dataclasses.replace(SHORT, max_steps=4), resume=done.folder)


def test_epochs_can_be_added_too(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, max_steps=-1, max_epochs=2, limit_val_batches=None, ema=0.9)
    longer = fit(Language(), Rows(), config, folder=tmp_path / "longer").folder
    short = fit(Language(), Rows(), dataclasses.replace(config, max_epochs=1), folder=tmp_path / "short").folder
    fit(Language(), Rows(), config, resume=short)
    assert equal(short, longer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, "seed was 42 and is now 7"),
        ({"recipe": {"r": 3}}, "recipe.r was 2 and is now 3"),
        ({"base": "./other"}, 'base was "tiny" and is now "./other"'),
        ({"data": {"size": 30}}, "data.size was 22 and is now 30"),
        ({"data": {"num_workers": 1}}, "data.num_workers was 0 and is now 1"),
        ({"data": {"batch_size": 2}}, "data.batch_size was 4 and is now 2"),
        ({"trainer": {"lr": 1e-3}}, "trainer.lr was 0.01 and is now 0.001"),
        ({"trainer": {"optimizer": "sgd", "ema": 0.9}}, "trainer.ema was null and is now 0.9"),
        ({"trainer": {"devices": 2}}, "trainer.devices was 1 and is now 2"),
        ({"procedures": ({"name": "mezo"},)}, "procedures was null and is now"),
    ],
)
def test_what_decides_the_steps_is_refused_with_both_values(
    toys: Path, stopped_toy: Path, changes: dict[str, Any], message: str
) -> None:
    trainer = dataclasses.replace(SHORT, **changes.pop("trainer", {}))
    with pytest.raises(InputError) as caught:
        run(ExperimentConfig("toys", trainer=trainer, **changes), resume=stopped_toy)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def stopped_toy(toys: Path) -> Path:
    """A run of the toy domain that says it was stopped."""
    folder = run(ExperimentConfig("toys", trainer=SHORT), run_dir=toys / "stopped").folder
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**state, "status": "interrupted"}))
    return folder


def test_what_decides_no_step_is_taken_and_written_down(toys: Path, stopped_toy: Path) -> None:
    trainer = dataclasses.replace(SHORT, max_steps=3, log_every=1, checkpoint_every=7)
    config = ExperimentConfig("toys", trainer=trainer)
    run(config, resume=stopped_toy)
    now = load_config(stopped_toy / "config.yaml")
    assert (now.trainer.log_every, now.trainer.checkpoint_every, now.trainer.max_steps) == (1, 7, 3)
    run(dataclasses.replace(config, trainer=dataclasses.replace(trainer, max_steps=4)), resume=stopped_toy)
    straight = run(ExperimentConfig("toys", trainer=dataclasses.replace(SHORT, max_steps=4)), run_dir=toys / "four")
    assert equal(stopped_toy, straight.folder)


def test_a_run_of_an_earlier_version_is_compared_with_its_configuration_file(toys: Path, stopped_toy: Path) -> None:
    state = json.loads((stopped_toy / "run.json").read_text())
    del state["config"]
    (stopped_toy / "run.json").write_text(json.dumps({**state, "status": "finished"}))
    with pytest.raises(InputError, match=r"trainer\.lr was 0\.01 and is now 0\.1"):
        run(ExperimentConfig("toys", trainer=dataclasses.replace(SHORT, lr=0.1)), resume=stopped_toy)
    run(ExperimentConfig("toys", trainer=dataclasses.replace(SHORT, max_steps=3)), resume=stopped_toy)
    assert load_config(stopped_toy / "config.yaml").trainer.max_steps == 3
    assert torch.load(stopped_toy / "last.ckpt", weights_only=True)["global_step"] == 3


def test_every_stage_of_a_run_goes_on_to_a_later_end(toys: Path) -> None:
    config = ExperimentConfig("toys", task="staged", trainer=SHORT)
    later = dataclasses.replace(config, trainer=dataclasses.replace(SHORT, max_steps=4))
    folder = run(config, run_dir=toys / "two").folder
    run(later, resume=folder)
    straight = run(later, run_dir=toys / "four").folder
    assert all(equal(folder / name, straight / name) for name in ("first", "second"))
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("size", [2, 11])
def test_another_batch_size_is_refused_and_no_sample_is_repeated(tmp_path: Path, size: int) -> None:
    config = dataclasses.replace(SHORT, max_steps=-1, max_epochs=1, checkpoint_every=1)
    with pytest.raises(Dead):
        fit(Mortal(4), Rows(22, 4), config, folder=tmp_path / "run")
    with pytest.raises(InputError, match=f"batches of 4 samples over all devices and now has {size}"):
        fit(Language(), Rows(22, size), config, resume=tmp_path / "run")


def test_another_number_of_workers_is_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, checkpoint_every=1)
    with pytest.raises(Dead):
        fit(Mortal(2), Rows(), config, folder=tmp_path / "run")
    with pytest.raises(InputError, match="started with num_workers 0 and now has 1"):
        fit(Language(), Rows(num_workers=1), config, resume=tmp_path / "run")


def test_the_order_goes_on_over_other_ranks_where_the_global_batch_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def rank(number: int, world: int) -> None:
        monkeypatch.setattr(batching, "_rank_and_world", lambda: (number, world))

    rank(0, 1)
    alone = ResumableBatches(22, 4, seed=3)
    batches = iter(alone)
    next(batches), next(batches)
    state = alone.state_dict()
    rest = [{draw.index for draw in batch} for batch in batches]
    shared: list[list[set[int]]] = []
    for number in (0, 1):
        rank(number, 2)
        half = ResumableBatches(22, 2, seed=3)
        half.load_state_dict(state)
        shared.append([{draw.index for draw in batch} for batch in half])
    assert [one | other for one, other in zip(*shared, strict=True)] == rest
    for wrong, message in (
        (ResumableBatches(22, 4, seed=3), "batches of 4 samples over all devices and now has 8"),
        (ResumableBatches(22, 2, seed=3, shuffle=False), "shuffled"),
        (ResumableBatches(22, 2, seed=3, lengths=[1] * 22), "bucketed"),
        (ResumableBatches(22, 2, seed=3, drop_last=True), "drop_last"),
    ):
        with pytest.raises(InputError, match=message):
            wrong.load_state_dict(state)


def test_a_loader_made_outside_follows_the_seed_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(state: int) -> DataLoader:
        torch.manual_seed(state)  # as it differs between processes, and between starts
        return loader(Noisy(22), 4, collate_fn=pad)

    one = fit(Language(), made(1), SHORT, folder=tmp_path / "one").folder
    other = fit(Language(), made(2), SHORT, folder=tmp_path / "other").folder
    assert equal(one, other)
    another = fit(Language(), made(2), dataclasses.replace(SHORT, seed=7), folder=tmp_path / "another").folder
    assert not equal(other, another)

    seen: list[int] = []
    for number in (0, 1):
        monkeypatch.setattr(batching, "_rank_and_world", lambda number=number: (number, 2))
        with seed_of_run(5):
            seen += [draw.index for batch in made(number).batch_sampler for draw in batch]
    assert sorted(seen) == list(range(22))
