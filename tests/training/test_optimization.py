"""Parameter groups, the learning rate, and the moving average."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import pytest
import torch
from torch import nn

from suite import adapters
from suite.errors import InputError
from suite.training import TrainerConfig
from suite.training.ema import MovingAverage
from suite.training.optimization import lr_factor, parameter_groups
from tests.training.toys import tiny_llama


def test_lora_plus_gives_the_b_matrices_their_own_rate_and_biases_do_not_decay() -> None:
    model = adapters.attach(tiny_llama(attention_bias=True), "lora", r=2, targets=["q_proj"], bias="lora_only")
    groups = parameter_groups(model, TrainerConfig(lr=1e-3, weight_decay=0.1, lora_plus_ratio=16))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        (names[id(parameter)].rsplit("q_proj.")[-1].split(".")[0], group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    assert found == {("lora_A", 1e-3, 0.1), ("lora_B", 1.6e-2, 0.1), ("base_layer", 1e-3, 0.0)}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trainable)


def test_lora_plus_without_lora_is_refused() -> None:
    with pytest.raises(InputError, match="no LoRA B matrix"):
        parameter_groups(nn.Linear(2, 2), TrainerConfig(lora_plus_ratio=16))


def test_the_rate_warms_up_to_its_peak_and_falls_but_never_to_zero() -> None:
    linear, cosine, constant = (lr_factor(shape, 4, 24) for shape in ("linear", "cosine", "constant"))
    for factor in (linear, cosine, constant):
        assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert factor(23) > 0
    assert (linear(14), cosine(14), constant(14)) == pytest.approx((0.5, 0.5, 1.0))
    assert cosine(9) > linear(9) and cosine(19) < linear(19)


class Walk:
    """A module whose one weight is set by hand, and the steps that a trainer would take with it."""

    def __init__(self, decay: float) -> None:
        self.module = nn.Linear(1, 1, bias=False)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.module.register_parameter("frozen", self.frozen)
        self.average = MovingAverage(decay)
        self.step = 0
        self.at(0.0)

    def at(self, value: float) -> None:
        with torch.no_grad():
            self.module.weight.fill_(value)

    def arguments(self) -> Any:
        return SimpleNamespace(global_step=self.step), cast(L.LightningModule, self.module)

    def start(self) -> None:
        self.average.on_train_start(*self.arguments())

    def move(self, value: float) -> None:
        self.at(value)
        self.step += 1
        self.average.on_train_batch_end(*self.arguments(), None, None, 0)


def test_the_average_follows_its_formula_and_holds_only_what_trains() -> None:
    walk = Walk(decay=0.5)
    walk.start()
    wanted = 0.0
    for step in range(1, 13):
        walk.move(float(step))
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
        # A batch that only accumulates takes no step and must not count.
        walk.average.on_train_batch_end(*walk.arguments(), None, None, 0)
    assert set(walk.average.average) == {"weight"}
    assert walk.average.average["weight"].item() == pytest.approx(wanted, rel=1e-6)


def test_validation_sees_the_average_and_training_goes_on_with_the_live_weights() -> None:
    walk = Walk(decay=0.9)
    walk.start()
    walk.move(1.0)
    trainer, module = walk.arguments()
    walk.average.on_validation_start(trainer, module)
    assert walk.module.weight.item() == pytest.approx(1 - 2 / 11)
    walk.average.on_validation_end(trainer, module)
    assert walk.module.weight.item() == 1.0


def test_a_saved_average_goes_on_where_it_was() -> None:
    walk, again = Walk(decay=0.9), Walk(decay=0.9)
    walk.start()
    for value in (1.0, 2.0):
        walk.move(value)
    again.average.load_state_dict(walk.average.state_dict())
    again.step = walk.step
    again.start()
    for each in (walk, again):
        each.move(5.0)
    assert torch.equal(walk.average.average["weight"], again.average.average["weight"])
