"""Methods whose choice of what trains comes from the gradients of training: the choice, and resuming to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.selective.sift import largest
from suite.errors import InputError
from suite.training import TrainerConfig, fit
from suite.training.procedures.id3 import Id3
from tests.training.toys import Dead, Language, Mortal, Rows, tiny_llama

STEPS = TrainerConfig(
    accelerator="cpu", max_epochs=1, lr=1e-2, log_every=1, limit_val_batches=0, checkpoint_every=1, weight_decay=0.1
)
TARGETS = ["q_proj", "down_proj"]


class Chosen(Mortal):
    """One method on two layers of each block."""

    method, options = "id3", {"budget": 40}

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return adapters.attach(tiny_llama(), self.method, targets=TARGETS, **self.options)


class Sifted(Chosen):
    """The same for SIFT."""

    method, options = "sift", {"rate": 0.01}


@pytest.mark.parametrize("recipe", [Chosen, Sifted])
def test_a_resumed_run_is_the_one_that_was_never_stopped(recipe: type[Chosen], tmp_path: Path) -> None:
    whole = recipe(0)
    fit(whole, Rows(24, 4), STEPS, folder=tmp_path / "whole")
    with pytest.raises(Dead):
        fit(recipe(3), Rows(24, 4), STEPS, folder=tmp_path / "stopped")
    resumed = recipe(0)
    fit(resumed, Rows(24, 4), STEPS, resume=tmp_path / "stopped")
    again = dict(resumed.model.named_parameters())
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, again[name]), name
    for (_, layer), (_, other) in zip(adapters.layers(whole.model), adapters.layers(resumed.model), strict=True):
        for name, buffer in layer.named_buffers():
            assert torch.equal(buffer, dict(other.named_buffers())[name])


def test_id3_moves_as_many_numbers_as_its_budget_and_a_file_holds_no_others(tmp_path: Path) -> None:
    recipe = Chosen(0)
    run = fit(recipe, Rows(24, 4), STEPS, folder=tmp_path / "run")
    base = dict(tiny_llama().named_parameters())
    moved = 0
    for name, layer in adapters.layers(recipe.model):
        moved += int((layer.tensor("weight", "default") != base[f"{name.removesuffix('.suite_id3')}.weight"]).sum())
    assert moved == 40
    [procedure] = [found for found in recipe.procedures if isinstance(found, Id3)]
    assert procedure.updates == sum([7, 14, 21, 28, 34, 40])  # b (N + 1) / 2 and what b mod N adds
    from safetensors.torch import load_file

    state = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.numel() for key, tensor in state.items() if not key.endswith("_places")) == 40
    loaded, ids = adapters.load(tiny_llama(), run.folder / "adapter"), torch.arange(6)[None]
    assert torch.equal(loaded.eval()(ids).logits, recipe.model.eval()(ids).logits)


def test_id3_filters_whatever_trains(tmp_path: Path) -> None:
    recipe = Language(dropout=0.0)
    fit(recipe, Rows(24, 4), STEPS, procedures=[Id3(30)], folder=tmp_path / "run")
    torch.manual_seed(0)
    untrained = adapters.attach(tiny_llama(), "lora", r=2, targets=["q_proj", "v_proj", "down_proj"])
    b = {name: p for name, p in recipe.model.named_parameters() if "lora_B" in name}
    assert 0 < sum(int((p != 0).sum()) for p in b.values()) <= 30
    assert adapters.count(untrained).trainable > 30
    with pytest.raises(InputError, match="procedures: id3: name a budget"):
        fit(Language(), Rows(8, 4), STEPS, procedures=[Id3()], folder=tmp_path / "none")


def test_sift_trains_the_largest_gradients_of_the_first_batch(tmp_path: Path) -> None:
    recipe, data = Sifted(0), Rows(24, 4, noise=0.0)
    first: list[Any] = []
    compute = Sifted.compute

    def kept(self: Sifted, batch: Any) -> Any:
        first.append(batch)
        return compute(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sifted, "compute", kept)
        fit(recipe, data, dataclasses.replace(STEPS, weight_decay=0.0), folder=tmp_path / "run")
    assert len(first) == 7  # the first one twice
    model = tiny_llama()
    model.requires_grad_(True)
    bare = Sifted(0)
    bare.model = model
    compute(bare, first[0]).loss.backward()
    for name, layer in adapters.layers(recipe.model):
        gradient = model.get_parameter(f"{name.removesuffix('.suite_sift')}.weight").grad
        assert torch.equal(layer.places("default").long(), largest(gradient, 0.01))
