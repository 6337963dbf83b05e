"""One training from end to end: the folder it leaves, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from safetensors.torch import load_file

from suite import adapters
from suite.errors import InputError
from suite.training import Procedure, TrainerConfig, fit
from suite.training.optimization import build_optimizer
from tests.training.toys import Language, Rows, tiny_llama


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("fit") / "run"
    return fit(Language(), Rows(noise=0.0), TrainerConfig(max_epochs=8, lr=3e-2, log_every=3), folder=folder)


def test_folder_holds_everything_a_run_promises(run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "adapter", "last.ckpt", "plots", "report.html", "run.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {"loss.png", "validation.png", "learning_rate.png"} == {p.name for p in (run.folder / "plots").iterdir()}
    assert not [name for name in names if name.endswith(".part")]


def test_training_lowers_the_loss_and_counts_steps_from_one(run) -> None:
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "train/loss" in line]
    assert training[0]["step"] == 1 and training[0]["lr"] == pytest.approx(3e-2)
    assert training[-1]["train/loss"] < training[0]["train/loss"] - 0.15
    assert [line["step"] for line in lines if "val/loss" in line] == [6 * epoch for epoch in range(1, 9)]
    assert run.metrics["val/sample_loss"] > 0


def test_adapter_reloads_on_a_fresh_base(run) -> None:
    tokens = torch.arange(1, 9)[None]
    model = adapters.load(tiny_llama(), run.adapter).eval()
    again = adapters.load(tiny_llama(), run.adapter).eval()
    assert torch.equal(model(tokens).logits, again(tokens).logits)
    assert not torch.allclose(model(tokens).logits, tiny_llama()(tokens).logits)
    assert adapters.read_manifest(run.adapter)["domain"] == {"r": 2}


def test_checkpoint_holds_the_adapter_only_and_loads_as_plain_data(run) -> None:
    checkpoint = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"] and all("lora_" in name for name in checkpoint["state_dict"])
    saved = load_file(run.adapter / "adapter_model.safetensors")
    assert len(saved) == len(checkpoint["state_dict"])


def test_same_seed_same_adapter_other_seed_another(tmp_path: Path) -> None:
    def adapter(name: str, seed: int) -> dict[str, torch.Tensor]:
        config = TrainerConfig(max_steps=3, lr=1e-2, seed=seed, limit_val_batches=0)
        return load_file(fit(Language(), Rows(), config, folder=tmp_path / name).adapter / "adapter_model.safetensors")

    first, second, other = adapter("a", 1), adapter("b", 1), adapter("c", 2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_recipe_that_trains_nothing_is_refused(tmp_path: Path) -> None:
    class Frozen(Language):
        def build(self) -> torch.nn.Module:
            return tiny_llama().requires_grad_(False)

    with pytest.raises(InputError, match="no trainable parameter"):
        fit(Frozen(), Rows(), folder=tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Broken(Language):
        def compute(self, batch):
            outputs = super().compute(batch)
            outputs.loss = outputs.loss * float("nan")
            return outputs

    with pytest.raises(InputError, match=r"loss is nan at step 1; lower trainer\.lr"):
        fit(Broken(), Rows(), folder=tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


def test_eval_modules_stay_in_evaluation_mode_and_must_exist(tmp_path: Path) -> None:
    modes = []

    class Steady(Language):
        eval_modules = ("*.layers.0.self_attn", torch.nn.Dropout)

        def compute(self, batch):
            layers = self.model.model.layers
            modes.append((self.training, layers[0].self_attn.training, layers[1].self_attn.training))
            return super().compute(batch)

    fit(Steady(), Rows(), TrainerConfig(max_epochs=2), folder=tmp_path / "run")
    assert {mode for mode in modes if mode[0]} == {(True, False, True)}

    class Wrong(Language):
        eval_modules = ("*.nothing",)

    with pytest.raises(InputError, match="eval_modules names"):
        fit(Wrong(), Rows(), folder=tmp_path / "wrong")


class Sharded(FSDPStrategy):
    """Lightning refuses its own class without a GPU before we can."""


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strategy": "dpp"}, "invalid strategy name"),
        ({"precision": "12"}, "Precision '12' is invalid"),
        ({"accelerator": "quantum"}, "invalid accelerator name"),
        ({"accelerator": "cpu", "strategy": Sharded()}, "use ddp"),
    ],
)
def test_a_trainer_that_this_machine_cannot_make_is_refused_in_one_line(
    tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fit(Language(), Rows(), TrainerConfig(**setting), folder=tmp_path / "run")
    assert str(caught.value).startswith("trainer") and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_adapters_of_earlier_steps_are_kept(tmp_path: Path) -> None:
    config = TrainerConfig(max_epochs=-1, max_steps=9, accumulate_grad_batches=2, keep_every=2, keep_last=3)
    run = fit(Language(), Rows(), config, folder=tmp_path / "run")
    kept = sorted((run.folder / "steps").iterdir())
    assert [path.name for path in kept] == ["step_000004", "step_000006", "step_000008"]
    files = [load_file(path / "adapter_model.safetensors") for path in [*kept, run.adapter]]
    assert all(file.keys() == files[-1].keys() for file in files)
    assert len({tuple(value.sum().item() for value in file.values()) for file in files}) == 4
    adapters.load(tiny_llama(), kept[0])


def test_only_what_the_run_wrote_is_taken_away_from_the_kept_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ("step_best/notes.txt", "step_0", "step_000001/notes.txt", "step_000002.txt")
    earlier = ("step_999999", "step_1000000")

    def begin(self: Language) -> None:
        steps = tmp_path / "run" / "steps"
        for name in mine:
            (steps / name).parent.mkdir(parents=True, exist_ok=True)
            (steps / name).write_text("mine")
        for name in earlier:
            self.save_adapter(steps / name)

    monkeypatch.setattr(Language, "on_train_start", begin, raising=False)
    config = TrainerConfig(max_steps=3, limit_val_batches=0, keep_every=2, keep_last=2)
    run = fit(Language(), Rows(), config, folder=tmp_path / "run")
    steps = run.folder / "steps"
    assert {name for name in mine if (steps / name).read_text() == "mine"} == set(mine)
    assert {path.name for path in steps.iterdir() if (path / "suite.json").is_file()} == set(earlier)


@pytest.mark.parametrize("optimizer", ["sgd", "adafactor", "adamw8bit", "prodigy"])
def test_other_optimisers_learn_and_resume_to_the_bit(tmp_path: Path, optimizer: str) -> None:
    if optimizer == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    if optimizer == "prodigy":
        pytest.importorskip("prodigyopt")
    rate = {"sgd": 1.0, "adafactor": 0.3, "adamw8bit": 3e-2, "prodigy": 1.0}[optimizer]
    epochs = 24 if optimizer == "prodigy" else 4  # its rate grows from next to nothing
    config = TrainerConfig(max_epochs=epochs, lr=rate, optimizer=optimizer, log_every=1, scheduler="constant")
    straight = fit(Language(), Rows(noise=0.0), config, folder=tmp_path / "straight")
    lines = [json.loads(line) for line in (straight.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < losses[0]
    with pytest.raises(RuntimeError, match="cut off"):
        fit(Language(), Rows(noise=0.0), config, [CutOff(2)], folder=tmp_path / "cut")
    resumed = fit(Language(), Rows(noise=0.0), config, resume=tmp_path / "cut")
    wanted = load_file(straight.adapter / "adapter_model.safetensors")
    found = load_file(resumed.adapter / "adapter_model.safetensors")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_prodigy_has_one_rate_and_finds_it() -> None:
    pytest.importorskip("prodigyopt")
    weights = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(weights, (1.0, 2.0), strict=True)]
    with pytest.raises(InputError, match="one rate for all"):
        build_optimizer(groups, TrainerConfig(optimizer="prodigy", lr=1.0))
    with pytest.raises(InputError, match=r"set trainer.lr: 1\.0"):
        build_optimizer([{"params": weights, "lr": 1e-4}], TrainerConfig(optimizer="prodigy", lr=1e-4))


class CutOff(Procedure):
    """Ends the run with an error at the start of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("cut off")
