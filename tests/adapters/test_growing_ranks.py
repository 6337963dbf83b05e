"""IncreLoRA and TriAdaptLoRA: ranks come while they train, to the bit also in a resumed run, and a file holds them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn

from suite import adapters
from suite.adapters.carriers.base import TunerLayer
from suite.adapters.registry import build_config
from suite.errors import InputError
from suite.training import TrainerConfig, fit
from tests.training.toys import Dead, Mortal, Rows, tiny_llama

SHORT = TrainerConfig(accelerator="cpu", max_epochs=1, lr=1e-2, limit_val_batches=0, checkpoint_every=1)
SETTINGS: dict[str, dict[str, Any]] = {
    "increlora": dict(r=2, init_warmup=1, incre_interval=1, top_h=2, alpha=16.0),
    "triadaptlora": dict(r=2, init_warmup=1, incre_interval=1, add_r=2, alpha=16.0),
}


class Growing(Mortal):
    """From rank 1 to the target within six steps."""

    def __init__(self, fatal: int, method: str = "increlora") -> None:
        super().__init__(fatal)
        self.method = method

    def build(self) -> nn.Module:
        return adapters.attach(tiny_llama(), self.method, targets=["q_proj", "v_proj"], **SETTINGS[self.method])

    def ranks(self) -> list[int]:
        return [layer.counted("default")[0] for _, layer in adapters.layers(self.model, self.method)]


@pytest.mark.parametrize("method", SETTINGS)
def test_ranks_grow_to_the_target_and_a_resumed_run_is_the_same(method: str, tmp_path: Path) -> None:
    whole = Growing(0, method)
    fit(whole, Rows(24, 4), SHORT, folder=tmp_path / "whole")
    assert [type(procedure).__name__.lower() for procedure in whole.procedures] == [method]
    assert sum(whole.ranks()) == 2 * len(whole.ranks())
    assert set(whole.ranks()) != {2}
    with pytest.raises(Dead):
        fit(Growing(4, method), Rows(24, 4), SHORT, folder=tmp_path / "stopped")
    resumed = Growing(0, method)
    fit(resumed, Rows(24, 4), SHORT, resume=tmp_path / "stopped")
    assert resumed.ranks() == whole.ranks()
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(resumed.model.named_parameters())[name]), name

    saved = load_file(tmp_path / "whole/adapter/adapter_model.safetensors")
    assert [len(tensor) for key, tensor in saved.items() if key.endswith("lora_A")] == whole.ranks()
    assert not any("counts" in key or "scores" in key for key in saved)
    reloaded, ids = adapters.load(tiny_llama(), tmp_path / "whole/adapter"), torch.arange(6)[None]
    torch.testing.assert_close(reloaded.eval()(ids).logits, whole.model.eval()(ids).logits)


def test_a_score_is_that_of_the_whole_batch_and_watched_no_longer_than_needed(tmp_path: Path) -> None:
    recipe = Growing(0)
    fit(recipe, Rows(24, 4), SHORT, folder=tmp_path / "run")
    layers = [layer for _, layer in adapters.layers(recipe.model, "increlora")]
    assert not any(layer._watched for layer in layers)
    assert all(layer.tensor("scores", "default")[0] > 0 for layer in layers)
    assert all(len(set(layer.counted("default"))) == 1 for layer in layers)  # no reserves any more


def test_a_layer_never_outgrows_its_memory() -> None:
    from suite.adapters.methods.reparameterized.growing import drawer
    from suite.training.procedures.increlora import allocate

    model = adapters.attach(
        nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)),
        "increlora",
        targets=["0", "1"],
        r=4,
        max_rank=2,
        add_r=1,
        init_warmup=0,
        incre_interval=1,
    )
    layers = [layer for _, layer in adapters.layers(model)]
    for layer in layers:
        layer.watch_score("default", True)
    for step in range(5):
        model(torch.randn(4, 8)).square().mean().backward()
        allocate(layers, "default", step, drawer(0, step))
    assert [layer.counted("default") for layer in layers] == [(2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict(init_warmup=-1), "init_warmup=-1 must not be below 0"),
        (dict(incre_interval=0), "incre_interval=0 must be at least 1"),
        (dict(init_rank=9), "init_rank=9 must be from 1 to the target"),
    ],
)
def test_schedules_that_cannot_be_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        adapters.attach(tiny_llama(), "increlora", targets=["q_proj"], **wrong)


def test_a_growth_that_would_begin_after_the_run_is_refused(tmp_path: Path) -> None:
    class Late(Growing):
        def build(self) -> nn.Module:
            return adapters.attach(tiny_llama(), "increlora", targets=["q_proj"], r=2, init_warmup=1000)

    with pytest.raises(InputError, match="init_warmup is 1000, and the run has 6 optimiser steps"):
        fit(Late(0), Rows(24, 4), dataclasses.replace(SHORT), folder=tmp_path / "run")


@pytest.mark.parametrize("method", [*SETTINGS, "sora"])
def test_ranks_that_a_file_holds_fill_the_first_of_a_layer_with_room_for_more(method: str) -> None:
    """As peft moves an adapter from model to model: tensors alone, no rank pattern goes along."""
    settings = SETTINGS.get(method, {"r": 4})
    models = [
        get_peft_model(tiny_llama(), build_config(method, {**settings, "init_weights": plain}, ["q_proj"]))
        for plain in (False, True)
    ]
    source, given = ([layer for layer in model.modules() if isinstance(layer, TunerLayer)] for model in models)
    for layer in source if method == "sora" else ():
        layer.tensor("gate", "default").data[[0, 2, 3]] = 0.0
    state = get_peft_model_state_dict(models[0])
    assert {len(tensor) for key, tensor in state.items() if key.endswith("lora_A")} == {1}
    set_peft_model_state_dict(models[1], state)
    wanted, found = (model.eval()(torch.arange(6)[None]).logits for model in models)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert method == "sora" or all(layer.has_room("default") for layer in given)
