"""Methods whose choice of what trains comes from the gradients of training: the choice, and resuming to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.selective.light_peft import Pruning
from suite.adapters.methods.selective.sift import largest
from suite.errors import InputError
from suite.training import TrainerConfig, fit
from suite.training.procedures.id3 import Id3
from suite.training.procedures.light_peft import LightPeft
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


def heads() -> nn.Module:
    """A Llama each of whose heads has keys and values of its own."""
    return tiny_llama(num_key_value_heads=4)


class Estimated(Chosen):
    """Masks on units and heads beside LoRA."""

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        masks = {"method": "light_peft", "targets": ["o_proj", "down_proj"], "num_heads": 4, "penalty": 0.01}
        return adapters.attach(heads(), masks, {"method": "lora", "r": 4, "targets": ["q_proj", "v_proj"]})


def test_light_peft_decides_what_stays_and_a_cut_base_computes_as_the_masked_one(tmp_path: Path) -> None:
    whole = Estimated(0)
    fit(whole, Rows(24, 4), STEPS, procedures=[LightPeft(mask_rate=5.0)], folder=tmp_path / "whole")
    with pytest.raises(Dead):
        fit(Estimated(4), Rows(24, 4), STEPS, procedures=[LightPeft(mask_rate=5.0)], folder=tmp_path / "stopped")
    resumed = Estimated(0)
    fit(resumed, Rows(24, 4), STEPS, procedures=[LightPeft(mask_rate=5.0)], resume=tmp_path / "stopped")
    decided = []
    for recipe in (whole, resumed):
        [procedure] = [found for found in recipe.procedures if isinstance(found, LightPeft)]
        assert procedure.counted == 3
        decided.append(procedure.decision(recipe.model, modules=0.5))
    assert decided[0] == decided[1]
    pruning, lora = decided[0]
    assert sum(map(len, pruning.units.values())) == round(2 / 3 * 2 * 48)
    assert all(len(stay) == 2 for stay in pruning.heads.values())  # above the quantile of 1/3 of four
    # Half of the four modules stay, and of their ranks half; one without a rank goes too.
    assert 1 <= len(lora["targets"]) <= 2 and sum(lora["rank_pattern"].values()) == 4

    masked, cut, ids = heads().eval(), heads().eval(), torch.arange(6)[None]
    adapters.attach(masked, "light_peft", targets=["o_proj", "down_proj"], num_heads=4)
    for _, layer in adapters.layers(masked):
        stay = {**pruning.heads, **pruning.units}[layer.target]
        mask = torch.zeros_like(layer.tensor("mask", "default"))
        layer.tensor("mask", "default").data.copy_(mask.index_fill(0, torch.tensor(stay), 1.0))
    pruning.apply(cut)
    torch.testing.assert_close(cut(ids).logits, masked(ids).logits, atol=1e-5, rtol=1e-5)
    assert adapters.count(cut).total < 0.8 * adapters.count(heads()).total
    adapters.attach(cut, {**lora, "r": 4})
    adapters.save(cut, tmp_path / "a", extra={"pruning": pruning.to_dict()})
    kept = adapters.read_manifest(tmp_path / "a")["domain"]["pruning"]
    again = heads().eval()
    with pytest.raises(InputError, match="another architecture or other shapes"):
        adapters.load(again, tmp_path / "a")
    Pruning(**kept).apply(again)
    assert torch.equal(adapters.load(again, tmp_path / "a")(ids).logits, cut(ids).logits)
    with pytest.raises(InputError, match=r"pruning: there is no layer model\.layers\.7"):
        Pruning({}, {"model.layers.7.mlp.down_proj": [1]}, 1).apply(heads())
    with pytest.raises(InputError, match="its heads share keys and values"):
        pruning.apply(tiny_llama())


class Continued(Chosen):
    """Goes on with an adapter from a folder."""

    folder = Path()

    def build(self) -> nn.Module:
        return adapters.load(tiny_llama(), self.folder, trainable=True)


@pytest.mark.parametrize("recipe", [Chosen, Sifted])
def test_training_an_adapter_on_keeps_what_it_chose(recipe: type[Chosen], tmp_path: Path) -> None:
    first = recipe(0)
    run = fit(first, Rows(24, 4), STEPS, folder=tmp_path / "first")

    def places(model: nn.Module) -> list[set[int]]:
        layers = [layer for _, layer in adapters.layers(model)]
        if recipe is Sifted:
            return [{*layer.places("default").tolist()} for layer in layers]
        return [{*layer.changed("weight", "default").tolist()} for layer in layers]

    again = Continued(0)
    again.folder = run.folder / "adapter"
    start = [p.detach().clone() for p in adapters.load(tiny_llama(), again.folder).parameters()]
    fit(again, Rows(16, 2, noise=0.9), dataclasses.replace(STEPS, lr=1e-4), folder=tmp_path / "again")  # other data
    assert all(old <= new for old, new in zip(places(first.model), places(again.model), strict=True))
    assert sum(map(len, places(again.model))) == sum(map(len, places(first.model)))
    ended = [*again.model.parameters()]
    assert all((a - b).abs().max() < 0.01 for a, b in zip(start, ended, strict=True))  # nothing was begun anew


def test_sift_keeps_what_was_planned(tmp_path: Path) -> None:
    class Planned(Mortal):
        def build(self) -> nn.Module:
            model = tiny_llama()
            planned = {name: torch.tensor([5, 6]) for name, _ in model.named_modules() if name.endswith("q_proj")}
            # A rate that gives two places for a weight of 32 x 32.
            return adapters.attach(model, "sift", targets=["q_proj"], rate=0.001, places=planned)

    recipe = Planned(0)
    fit(recipe, Rows(8, 4), STEPS, folder=tmp_path / "run")
    assert all(layer.places("default").tolist() == [5, 6] for _, layer in adapters.layers(recipe.model))
