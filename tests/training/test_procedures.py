"""What a procedure can change, and that several of them do not get in each other's way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from suite.errors import InputError
from suite.training import (
    ExperimentConfig,
    Outputs,
    Procedure,
    TrainerConfig,
    causal_lm_loss,
    fit,
    load_config,
    procedures,
    run,
)
from suite.training.procedure import total_loss
from suite.training.procedures.mezo import ForwardOnly
from tests.training.toys import Language, Rows

SHORT = TrainerConfig(max_steps=3, lr=1e-2, limit_val_batches=0, log_every=1)


class Penalty(Procedure):
    """Adds the size of the logits."""

    def loss(self, outputs: Outputs, batch: Any) -> dict[str, Tensor]:
        assert outputs.logits is not None
        return {"size": 0.5 * outputs.logits.pow(2).mean()}


class Loud(Language):
    """Gives its logits to procedures, and keeps the losses that it computed."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.losses: list[float] = []

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        outputs = super().compute(batch)
        outputs.logits = self.model(input_ids=batch["input_ids"]).logits
        self.losses.append(outputs.loss.item())
        return outputs


def test_a_term_is_added_to_the_loss_and_logged(tmp_path: Path) -> None:
    recipe = Loud()
    folder = fit(recipe, Rows(), SHORT, [Penalty()], folder=tmp_path / "run").folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line, own in zip(lines, recipe.losses, strict=True):
        assert line["train/size"] > 0
        assert line["train/loss"] == pytest.approx(own + line["train/size"], rel=1e-5)


def test_sample_weights_multiply_the_losses_of_samples() -> None:
    class Weigh(Procedure):
        def loss(self, outputs: Outputs, batch: Any) -> dict[str, Tensor]:
            return {"sample_weight": torch.tensor([0.0, 3.0])}

    losses = torch.tensor([5.0, 2.0])
    loss, terms = total_loss([Weigh()], Outputs(losses.mean(), per_sample=losses), None)
    assert (loss.item(), terms) == (3.0, {})
    assert total_loss([Weigh(), Weigh()], Outputs(losses.mean(), per_sample=losses), None)[0].item() == 9.0
    with pytest.raises(InputError, match="no per-sample losses"):
        total_loss([Weigh()], Outputs(losses.mean()), None)
    with pytest.raises(InputError, match="loss term named 'size'; rename one"):
        total_loss([Penalty(), Penalty()], Outputs(losses.mean(), logits=losses), None)


def test_steps_nest_with_the_first_procedure_outermost(tmp_path: Path) -> None:
    calls: list[str] = []

    class Wrap(Procedure):
        def __init__(self, name: str, passes: int) -> None:
            self.name, self.passes = name, passes

        def step(self, batch: Any, forward: Callable[[Any], Outputs]) -> Outputs:
            calls.append(f"{self.name} in")
            outputs = [forward(batch) for _ in range(self.passes)]
            calls.append(f"{self.name} out")
            return outputs[-1]

    recipe = Loud()
    config = TrainerConfig(max_steps=1, limit_val_batches=0)
    fit(recipe, Rows(), config, [Wrap("a", 2), Wrap("b", 1)], folder=tmp_path / "run")
    assert calls == ["a in", "b in", "b out", "b in", "b out", "a out"]
    assert len(recipe.losses) == 2


class Signs(Procedure):
    """Brings an optimiser of its own: steps of fixed size against the gradient's sign."""

    def __init__(self) -> None:
        self.groups: Sequence[dict[str, Any]] = ()

    def optimizer(self, params: Sequence[dict[str, Any]]) -> Optimizer:
        self.groups = params
        return torch.optim.Rprop(params, lr=1e-3)


def test_one_procedure_may_bring_the_optimizer_and_two_are_refused(tmp_path: Path) -> None:
    signs, seen = Signs(), []

    class Look(Procedure):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            seen.append(type(trainer.optimizers[0]).__name__)

    fit(Language(), Rows(), SHORT, [signs, Look()], folder=tmp_path / "run")
    assert set(seen) == {"Rprop"}
    assert signs.groups[0]["initial_lr"] == SHORT.lr and signs.groups[0]["lr"] == 0.0  # the schedule drives it
    with pytest.raises(InputError, match="Signs and Signs both bring an optimiser"):
        fit(Language(), Rows(), SHORT, [Signs(), Signs()], folder=tmp_path / "two")


class TwoPoint(Optimizer):
    """MeZO (Malladi et al. 2023, algorithm 1): the loss at two opposite perturbations, and no backward pass."""

    zeroth_order = True

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.drawn = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        assert all(p.grad is None for p in parameters)
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        noise = [torch.randn(p.shape, generator=generator) for p in parameters]

        def shift(by: float) -> None:
            for parameter, direction in zip(parameters, noise, strict=True):
                parameter.add_(direction, alpha=by)

        shift(1e-3)
        above = closure()
        shift(-2e-3)
        below = closure()
        shift(1e-3)
        shift(-self.param_groups[0]["lr"] * float(above - below) / 2e-3)
        return above


def test_a_zeroth_order_optimizer_trains_without_gradients(tmp_path: Path) -> None:
    class Mezo(Procedure):
        def optimizer(self, params: Sequence[dict[str, Any]]) -> Optimizer:
            return TwoPoint(params, lr=0.0)

    class Watching(Language):
        grads: list[bool] = []

        def compute(self, batch: dict[str, Tensor]) -> Outputs:
            self.grads.append(torch.is_grad_enabled())
            return super().compute(batch)

    fit(Watching(dropout=0.0), Rows(), SHORT, [Mezo()], folder=tmp_path / "run")
    assert Watching.grads == [False] * 6
    config = TrainerConfig(max_steps=3, accumulate_grad_batches=2)
    with pytest.raises(InputError, match="accumulates no gradients"):
        fit(Language(), Rows(), config, [Mezo()], folder=tmp_path / "accumulating")


CONFIG = "domain: toys\nrecipe: {dropout: 0.2}\ntrainer: {max_steps: 3, limit_val_batches: 0, scheduler: constant}\n"


def configured(folder: Path, section: str) -> ExperimentConfig:
    path = folder / "toys.yaml"
    path.write_text(f"{CONFIG}procedures: {section}\n")
    return load_config(path)


def test_a_configuration_names_procedures_and_their_settings(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[tuple[bool, bool]] = []
    compute = Language.compute

    def watched(self: Language, batch: dict[str, Tensor]) -> Outputs:
        modes.append((torch.is_grad_enabled(), self.training))
        return compute(self, batch)

    monkeypatch.setattr(Language, "compute", watched)
    done = run(configured(toys, "{name: mezo, epsilon: 0.01, seed: 5}"), run_dir=toys / "run")
    # Two forward passes a step, without dropout and without gradients.
    assert modes == [(False, False)] * 6
    record = load_config(done.folder / "config.yaml")
    assert record.procedures == ({"name": "mezo", "epsilon": 0.01, "seed": 5},)


def test_a_procedure_of_ones_own_is_named_by_its_import_string(toys: Path) -> None:
    [mezo, penalty] = procedures.build(configured(toys, f"[mezo, '{__name__}:Penalty']").procedures)
    assert type(penalty) is Penalty and type(mezo).__name__ == "Mezo"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("mezoo", "did you mean mezo"),
        ("[7]", "procedures holds 7; write a name"),
        ("{epsilon: 0.1}", "write a name, or name: and settings"),
        ("{name: mezo, epsilonn: 0.1}", "procedures: mezo: unknown key 'epsilonn'; did you mean epsilon?"),
        ("{name: mezo, epsilon: much}", "procedures: mezo.epsilon is much; give a number"),
        ("{name: mezo, epsilon: -1}", "epsilon is -1"),
        ("'nowhere.at:All'", "procedures: nowhere.at:All cannot be imported"),
        (f"'{__name__}:TwoPoint'", "is no suite.training.Procedure"),
    ],
)
def test_bad_procedures_are_refused_in_one_line(toys: Path, section: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        procedures.build(configured(toys, section).procedures)
    assert "\n" not in str(caught.value)


def test_mezo_resumes_with_the_seeds_that_were_to_come() -> None:
    def steps(optimizer: ForwardOnly, parameter: Tensor, count: int) -> None:
        for _ in range(count):
            optimizer.step(lambda: parameter.square().sum())

    def fresh(value: Tensor) -> tuple[ForwardOnly, Tensor]:
        parameter = torch.nn.Parameter(value.clone())
        return ForwardOnly([{"params": [parameter], "lr": 0.01}], [parameter], 1e-3, seed=3), parameter

    start = torch.linspace(1, 2, 5, dtype=torch.float64)
    whole, expected = fresh(start)
    steps(whole, expected, 5)
    first, half = fresh(start)
    steps(first, half, 2)
    second, resumed = fresh(half.detach())
    second.load_state_dict(first.state_dict())
    steps(second, resumed, 3)
    assert torch.equal(resumed, expected)
    assert expected.square().sum() < start.square().sum()


def test_weights_of_one_change_nothing_and_of_zero_leave_a_sample_out() -> None:
    class Weighed(Procedure):
        def __init__(self, *weights: float) -> None:
            self.weights = torch.tensor(weights)

        def loss(self, outputs: Outputs, batch: Any) -> dict[str, Tensor]:
            return {"sample_weight": self.weights}

    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6, 9, requires_grad=True), torch.randint(0, 9, (3, 6))
    labels[1, 2:] = labels[2, 1:] = -100  # 5, 1 and 0 targets
    outputs = causal_lm_loss(logits, labels)
    loss, _ = total_loss([Weighed(1, 1, 1)], outputs, None)
    assert torch.equal(loss, outputs.loss)
    (wanted,), (found,) = (torch.autograd.grad(value, logits, retain_graph=True) for value in (outputs.loss, loss))
    assert torch.equal(found, wanted)
    loss, _ = total_loss([Weighed(2, 0, 7)], outputs, None)
    assert loss.item() == pytest.approx(2 * 5 * outputs.per_sample[0].item() / 6)
    assert not torch.autograd.grad(loss, logits)[0][1].any()
