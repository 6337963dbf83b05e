"""What adapter methods ask of a training: values in place at every step, buffers kept, terms, schedules."""

from __future__ import annotations

import dataclasses
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.carriers import SelectedEntries
from suite.errors import InputError
from suite.training import Procedure, Run, TrainerConfig, causal_lm_loss, fit, regroup
from tests.adapters import toys  # noqa: F401 - registers its methods
from tests.training.toys import Dead, Language, Mortal, Rows, tiny_llama

SHORT = TrainerConfig(accelerator="cpu", max_epochs=1, lr=1e-2, log_every=1, limit_val_batches=0)


class Paca(Language):
    """Four columns of two layers."""

    def build(self) -> nn.Module:
        return adapters.attach(tiny_llama(), "paca", targets=["q_proj", "down_proj"], r=4)


def losses(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [value["train/loss"] for value in map(json.loads, lines) if "train/loss" in value]


def test_a_compiled_forward_computes_with_the_values_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses(fit(Paca(), Rows(8, 4, noise=0.0), SHORT, folder=tmp_path / "plain"))
    # What a compiled forward is left with: the product, and no writing of values before it.
    monkeypatch.setattr(SelectedEntries, "_host_forward", lambda self, x: self.product(x, self.present()))
    compiled = losses(fit(Paca(), Rows(8, 4, noise=0.0), SHORT, folder=tmp_path / "compiled"))
    assert compiled == plain
    assert plain[-1] != pytest.approx(plain[0], abs=1e-3)


class Drawn(Mortal):
    """PaCA whose columns fall otherwise the second time: a newer torch, another device."""

    draws = 0

    def build(self) -> nn.Module:
        torch.rand(self.draws)
        return adapters.attach(tiny_llama(), "paca", targets=["q_proj"], r=2)


def test_a_resumed_run_trains_the_columns_that_it_began_with(tmp_path: Path) -> None:
    config, first, second = dataclasses.replace(SHORT, checkpoint_every=1), Drawn(3), Drawn(0)
    second.draws = 1
    with pytest.raises(Dead):
        fit(first, Rows(), config, folder=tmp_path / "run")
    fit(second, Rows(), config, resume=tmp_path / "run")

    def columns(recipe: Drawn) -> list[int]:
        [layer, *_] = [m for m in recipe.model.modules() if getattr(m, "method", "") == "paca"]
        return layer.places("default").tolist()

    assert columns(second) == columns(first)
    second.draws = 0


class Masked(Mortal):
    """A method with a term of its own and masks that training changes."""

    def build(self) -> nn.Module:
        model = adapters.attach(tiny_llama(), "toy_masked", targets=["q_proj"])
        self.norms = [layer.tensor("a", "default").norm().item() for _, layer in adapters.layers(model)]
        return model


def test_terms_of_a_method_are_added_and_logged(tmp_path: Path) -> None:
    recipe = Masked(0)
    run = fit(recipe, Rows(8, 4, noise=0.0), SHORT, folder=tmp_path / "run")
    first = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    # While b is 0, the term alone reaches a.
    norms = [layer.tensor("a", "default").norm().item() for _, layer in adapters.layers(recipe.model)]
    assert all(now < began for now, began in zip(norms, recipe.norms, strict=True))
    model = recipe.model
    term = adapters.penalties(model)
    assert list(term) == ["toy_masked/size"]
    by_hand = sum(1e-2 * p.square().sum() for name, p in model.named_parameters() if "toy_masked_a" in name)
    torch.testing.assert_close(term["toy_masked/size"], by_hand)
    assert first["train/toy_masked/size"] == pytest.approx(1e-2 * sum(norm**2 for norm in recipe.norms), rel=1e-4)
    assert first["train/loss"] > first["train/toy_masked/size"]
    adapters.activate(model, "default", trainable=False)
    assert adapters.penalties(model) == {}


def test_pefts_own_terms_are_those_of_its_models() -> None:
    from peft import AdaLoraConfig, LoraConfig, get_peft_model
    from peft.tuners.lora.config import MontecloraConfig

    settings = dict(init_r=4, target_r=2, total_step=10, tinit=1, tfinal=1, orth_reg_weight=0.3)
    wrapped = get_peft_model(tiny_llama(), AdaLoraConfig(target_modules=["q_proj"], **settings))
    ids = torch.arange(6)[None]
    with_term = wrapped.base_model(input_ids=ids, labels=ids).loss
    without = wrapped.base_model.model(input_ids=ids, labels=ids).loss
    ours = adapters.attach(tiny_llama(), "adalora", targets=["q_proj"], **settings)
    ours.load_state_dict(wrapped.base_model.model.state_dict())
    torch.testing.assert_close(adapters.penalties(ours)["adalora/orthogonality"], with_term - without)

    sampling = dict(target_modules=["q_proj"], r=4, monteclora_config=MontecloraConfig(), init_lora_weights=False)
    wrapped = get_peft_model(tiny_llama(), LoraConfig(**sampling))
    sampling["targets"] = sampling.pop("target_modules")
    ours = adapters.attach(tiny_llama(), "lora", **sampling)
    ours.load_state_dict(wrapped.base_model.model.state_dict())
    term = wrapped.base_model._get_monteclora_loss()
    torch.testing.assert_close(adapters.penalties(ours)["lora/monteclora"], term)
    assert term != 0
    assert adapters.penalties(adapters.attach(tiny_llama(), "lora", targets=["q_proj"])) == {}


class Budget(Mortal):
    """AdaLoRA from rank 4 to 2 over six steps."""

    def build(self) -> nn.Module:
        schedule = dict(init_r=4, target_r=2, tinit=1, tfinal=1, total_step=6, deltaT=1)
        return adapters.attach(tiny_llama(), "adalora", targets=["q_proj", "v_proj"], **schedule)


def test_adalora_prunes_to_its_target_and_resumes_to_the_bit(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, checkpoint_every=1)
    whole = Budget(0)
    fit(whole, Rows(24, 4), config, folder=tmp_path / "whole")
    ranks = [int((layer.lora_E["default"] != 0).sum()) for _, layer in adapters.layers(whole.model, "adalora")]
    assert sum(ranks) == 2 * len(ranks)
    assert [type(procedure).__name__ for procedure in whole.procedures] == ["AdaLora"]
    with pytest.raises(Dead):
        fit(Budget(5), Rows(24, 4), config, folder=tmp_path / "stopped")
    resumed = Budget(0)
    fit(resumed, Rows(24, 4), config, resume=tmp_path / "stopped")
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(resumed.model.named_parameters())[name]), name
    reloaded = adapters.load(tiny_llama(), tmp_path / "whole/adapter")
    ids = torch.arange(6)[None]
    torch.testing.assert_close(reloaded.eval()(ids).logits, whole.model.eval()(ids).logits)


def test_a_trained_adalora_is_saved_at_its_final_ranks_and_loads_in_plain_peft(tmp_path: Path) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file

    recipe = Budget(0)
    run = fit(recipe, Rows(24, 4), SHORT, folder=tmp_path / "run")
    folder, model, ids = run.folder / "adapter", recipe.model.eval(), torch.arange(6)[None]
    expected = model(ids).logits
    values = [tensor for key, tensor in load_file(folder / "adapter_model.safetensors").items() if "lora_E" in key]
    assert sum(map(len, values)) == 2 * len(values) and all((tensor != 0).all() for tensor in values)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["init_r"] == 4 and {len(stay) for stay in config["rank_pattern"].values()} == {4}
    for loaded in (PeftModel.from_pretrained(tiny_llama(), folder), adapters.load(tiny_llama(), folder)):
        torch.testing.assert_close(loaded.eval()(ids).logits, expected)
    adapters.save(loaded, tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    adapters.finalize(model)
    ranks = [len(layer.lora_A["default"]) for _, layer in adapters.layers(model, "adalora")]
    assert sum(ranks) == 2 * len(ranks)
    torch.testing.assert_close(model(ids).logits, expected)
    adapters.merge(model)
    torch.testing.assert_close(model(ids).logits, expected)


def test_finalize_takes_off_what_a_method_of_ours_says_is_gone() -> None:
    model = adapters.attach(tiny_llama(), "toy_masked", targets=["q_proj"]).eval()
    found = [layer for _, layer in adapters.layers(model)]
    for number, layer in enumerate(found):
        layer.tensor("b", "default").data.normal_()
        layer.tensor("mask", "default")[: number + 1] = 0
    ids, state = torch.arange(6)[None], torch.get_rng_state()
    expected = model(ids).logits
    adapters.finalize(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(layer.tensor("a", "default")) for layer in found] == [3, 2]
    assert all(layer.tensor("a", "default").requires_grad for layer in found)
    torch.testing.assert_close(model(ids).logits, expected)


def test_a_pattern_of_other_ranks_than_the_layers_have_is_refused(tmp_path: Path) -> None:
    model = adapters.attach(tiny_llama(), "adalora", targets=["q_proj"], init_r=4, target_r=2, total_step=6)
    adapters.save(model, tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    place = f"{adapters.layers(model)[0][0]}.lora_E"
    for pattern, said in (
        ({place: [True] * 3}, "is of 3 ranks, and the layer has 4"),
        ({place: ["x"]}, "rank_pattern"),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), "rank_pattern": pattern}))
        with pytest.raises(InputError, match=said):
            adapters.load(tiny_llama(), tmp_path / "a")


def test_adalora_whose_budget_would_never_be_reached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="total_step is 6, and the run has 2 optimiser steps"):
        fit(Budget(0), Rows(8, 4), SHORT, folder=tmp_path / "run")


class Gates(Procedure):
    """A tenth of the rate for the gates of a method."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.recipe = pl_module

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        gates = [layer.tensor("b", "default") for _, layer in adapters.layers(self.recipe.model, "toy_masked")]
        return regroup(groups, gates, lr=1e-3, gate=True)


def test_a_procedure_gives_some_parameters_a_rate_of_their_own(tmp_path: Path) -> None:
    for optimizer in ("adamw", "sgd"):
        recipe = Masked(0)
        config = dataclasses.replace(SHORT, optimizer=optimizer, scheduler="constant", warmup=0)
        fit(recipe, Rows(8, 4), config, procedures=[Gates()], folder=tmp_path / optimizer)
        groups = recipe.trainer.optimizers[0].param_groups
        assert {group["lr"]: bool(group.get("gate")) for group in groups} == {1e-2: False, 1e-3: True}
        assert sum(len(group["params"]) for group in groups) == 4


def test_a_step_walks_no_modules_where_no_method_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[str] = []

    def counted(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        walks.append(type(self).__name__)
        return walk(self, *arguments, **options)

    walk = nn.Module.named_modules
    model = adapters.attach(tiny_llama(), "lora", targets=["q_proj"])
    adapters.penalties(model), adapters.refresh(model)
    monkeypatch.setattr(nn.Module, "named_modules", counted)
    for _ in range(3):
        assert adapters.penalties(model) == {}
        adapters.refresh(model)
    assert walks == []


def test_terms_come_and_go_with_the_adapters_that_bring_them() -> None:
    model = adapters.attach(tiny_llama(), "lora", targets=["q_proj"])
    assert adapters.penalties(model) == {}
    adapters.attach(model, "toy_masked", targets=["v_proj"], name="second")
    adapters.activate(model, "second")
    copied = deepcopy(model)
    assert adapters.penalties(model).keys() == adapters.penalties(copied).keys() == {"toy_masked/size"}
    adapters.activate(model, "default")
    assert adapters.penalties(model) == {} != adapters.penalties(copied)
    adapters.activate(model, "second")
    assert adapters.penalties(model)
    adapters.detach(model, "second")
    assert adapters.penalties(model) == {}


class Prompted(Language):
    """DePT, whose prompt has a learning rate of its own."""

    def build(self) -> nn.Module:
        settings = dict(num_virtual_tokens=2, r=2, max_length=16, prompt_lr=0.3, task_type="CAUSAL_LM")
        return adapters.attach(tiny_llama(), "dept", **settings)

    def compute(self, batch: dict[str, Any]) -> Any:
        return causal_lm_loss(self.model(input_ids=batch["input_ids"]).logits[:, 2:], batch["labels"])


def test_a_prompt_of_dept_has_the_rate_that_its_adapter_asks_for(tmp_path: Path) -> None:
    recipe = Prompted()
    fit(recipe, Rows(8, 4, noise=0.0), dataclasses.replace(SHORT, scheduler="constant"), folder=tmp_path / "run")
    prompt = recipe.model.prompt_encoder["default"].prompt_embeddings
    rates = {id(p): group["lr"] for group in recipe.trainer.optimizers[0].param_groups for p in group["params"]}
    assert rates.pop(id(prompt)) == 0.3
    assert set(rates.values()) == {1e-2}
    loaded = adapters.load(tiny_llama(), tmp_path / "run/adapter").eval()
    ids = torch.arange(6)[None]
    torch.testing.assert_close(loaded(ids).logits, recipe.model.eval()(ids).logits)
