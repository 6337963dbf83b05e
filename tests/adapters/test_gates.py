"""SoRA: gates shrink step by step, resume to the bit, and leave a LoRA of the ranks that are left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized.sora import shrunk
from suite.training import TrainerConfig, fit
from tests.training.toys import Dead, Mortal, Rows, tiny_llama

SHORT = TrainerConfig(accelerator="cpu", max_epochs=1, lr=1e-2, limit_val_batches=0, checkpoint_every=1)


class Gates(Mortal):
    """SoRA whose threshold takes about half of its gates within six steps."""

    def build(self) -> nn.Module:
        settings = dict(sparse_lambda_2=0.02, schedule=[0.02, 0.1], sparse_lr=2e-2)
        return adapters.attach(tiny_llama(), "sora", targets=["q_proj", "v_proj"], r=8, **settings)


def test_gates_close_while_it_trains_and_a_file_holds_the_open_ones(tmp_path: Path) -> None:
    whole = Gates(0)
    fit(whole, Rows(24, 4), SHORT, folder=tmp_path / "whole")
    assert [type(procedure).__name__ for procedure in whole.procedures] == ["Sora"]
    layers = adapters.layers(whole.model, "sora")
    open_gates = [int(layer.tensor("gate", "default").ne(0).sum()) for _, layer in layers]
    assert 0 < sum(open_gates) < 8 * len(open_gates)
    with pytest.raises(Dead):
        fit(Gates(4), Rows(24, 4), SHORT, folder=tmp_path / "stopped")
    resumed = Gates(0)
    fit(resumed, Rows(24, 4), SHORT, resume=tmp_path / "stopped")
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(resumed.model.named_parameters())[name]), name
    saved = load_file(tmp_path / "whole/adapter/adapter_model.safetensors")
    assert [len(tensor) for key, tensor in saved.items() if key.endswith("gate")] == open_gates
    reloaded, ids = adapters.load(tiny_llama(), tmp_path / "whole/adapter"), torch.arange(6)[None]
    torch.testing.assert_close(reloaded.eval()(ids).logits, whole.model.eval()(ids).logits)


def test_gates_have_a_rate_of_their_own() -> None:
    recipe = Gates(0)
    fit(recipe, Rows(8, 4), dataclasses.replace(SHORT, max_steps=1, scheduler="constant"))
    gates = {id(layer.tensor("gate", "default")) for _, layer in adapters.layers(recipe.model)}
    groups = recipe.trainer.optimizers[0].param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert {rate for parameter, rate in rates.items() if parameter in gates} == {2e-2}
    assert {rate for parameter, rate in rates.items() if parameter not in gates} == {1e-2}


def test_the_paper_keeps_what_the_published_code_cuts() -> None:
    gate = torch.tensor([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0])
    assert shrunk(gate, 1.0, "soft").tolist() == [-2.0, -0.5, 0.0, 0.0, 0.5, 2.0]
    assert shrunk(gate, 1.0, "official").tolist() == [-2.0, 0.0, 0.0, 0.0, 0.0, 2.0]
    assert shrunk(torch.tensor([2.0]), 1.0, "official").tolist() == [1.0]


def test_the_term_is_the_mean_over_all_gates() -> None:
    model = adapters.attach(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "sora", targets=["0", "1"], r=4, rank_pattern={"1": 2}
    )
    with torch.no_grad():
        model[0].tensor("gate", "default").fill_(1.0)
        model[1].tensor("gate", "default").fill_(-4.0)
    assert adapters.penalties(model)["sora/sparsity"].item() == pytest.approx(10 * (4 * 1 + 2 * 4) / 6)
