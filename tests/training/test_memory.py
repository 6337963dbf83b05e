"""What saves memory or time changes nothing else: gradient checkpointing, 4-bit bases, compiling."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from suite import adapters
from suite.adapters import registry
from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.nf4 import NF4Linear, quantize_model
from suite.training import Outputs, Procedure, TrainerConfig, fit
from tests.training.toys import Language, Rows, tiny_llama

SHORT = TrainerConfig(max_steps=2, lr=1e-2, limit_val_batches=0, gradient_clip_val=None)


def trained(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


class Gradients(Procedure):
    """Keeps the gradients of the first step."""

    def __init__(self) -> None:
        self.first: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if not self.first:
            self.first = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}


@dataclass
class GainConfig(TunerConfig):
    """A method that multiplies what a layer gives by a trained vector and a number from the context."""


@pytest.fixture
def gain() -> Iterator[str]:
    @tuner(registry.MethodInfo("test_gain", "additive", "", "suite", layers=("Linear",)), GainConfig)
    class Gain(Site):
        parameter_names = ("v",)

        def create(self, adapter: str, config: GainConfig) -> dict[str, Tensor]:
            return {"v": torch.ones(self.host.out_features)}

        def after(self, args: Any, kwargs: Any, output: Tensor, adapter: str) -> Tensor:
            return output * self.context["amount"] * self.tensor("v", adapter)

    yield "test_gain"
    registry._METHODS.pop("test_gain")


class TwoForwards(Language):
    """LoRA with dropout and a method that reads the context: two forwards under different values, one backward."""

    runs = 0

    def build(self) -> nn.Module:
        lora = {"method": "lora", "r": 2, "lora_dropout": 0.1, "targets": ["q_proj", "v_proj"]}
        model = adapters.attach(tiny_llama(), lora, {"method": "test_gain", "targets": ["up_proj"]})
        # An early layer: the recomputation ends with the last tensor that the backward pass needs.
        model.model.layers[0].self_attn.q_proj.register_forward_hook(self.count)
        return model

    def count(self, *_: Any) -> None:
        self.runs += 1

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        outputs = []
        for amount in (0.5, 2.0):
            with adapters.context(self.model, amount=amount):
                outputs.append(super().compute(batch))
        first, second = outputs
        return Outputs(first.loss + second.loss, weight=first.weight)


def test_checkpointed_gradients_equal_plain_ones_under_changing_context(gain: str, tmp_path: Path) -> None:
    found, runs = [], []
    for checkpointed in (False, True):
        config = dataclasses.replace(SHORT, max_steps=1, gradient_checkpointing=checkpointed)
        recipe, gradients = TwoForwards(), Gradients()
        fit(recipe, Rows(), config, [gradients], folder=tmp_path / str(checkpointed))
        found.append(gradients.first)
        runs.append(recipe.runs)
    plain, recomputed = found
    assert runs == [2, 4]
    assert plain.keys() == recomputed.keys() and any("test_gain" in name for name in plain)
    assert any(value.abs().max() > 1e-4 for value in plain.values())
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value, atol=1e-6, rtol=1e-6)


def test_lora_trains_on_a_4_bit_base_that_stays_as_it_is(tmp_path: Path) -> None:
    class Quantized(Language):
        def build(self) -> nn.Module:
            base = quantize_model(tiny_llama())
            self.codes = base.model.layers[0].self_attn.q_proj.weight.clone()
            return adapters.attach(base, "lora", r=2, targets=["q_proj", "v_proj", "down_proj"])

    recipe = Quantized()
    config = TrainerConfig(max_epochs=8, lr=3e-2, log_every=3, gradient_checkpointing=True)
    run = fit(recipe, Rows(noise=0.0), config, folder=tmp_path / "run")
    layer = recipe.model.model.layers[0].self_attn.q_proj.base_layer
    assert isinstance(layer, NF4Linear) and torch.equal(layer.weight, recipe.codes)
    # The untrained model's loss is that of guessing, log(48) = 3.87.
    assert run.metrics["train/loss"] < 3.7
    state = torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"]
    assert state and all("lora_" in name for name in state)
    model = adapters.load(quantize_model(tiny_llama()), run.adapter).eval()
    tokens = torch.arange(1, 9)[None]
    torch.testing.assert_close(model(tokens).logits, recipe.model.eval()(tokens).logits)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiling_changes_nothing_but_speed(tmp_path: Path) -> None:
    class Small(Language):
        def build(self) -> nn.Module:
            return adapters.attach(tiny_llama(num_hidden_layers=1), "lora", r=2, targets=["q_proj"])

    data = Rows(size=4, batch_size=4)
    config = dataclasses.replace(SHORT, lr=1e-3)
    plain = fit(Small(), data, config, folder=tmp_path / "plain").folder
    compiled = fit(Small(), data, dataclasses.replace(config, compile=True), folder=tmp_path / "compiled").folder
    first, second = trained(plain), trained(compiled)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-5)
