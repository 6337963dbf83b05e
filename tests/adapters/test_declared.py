"""What a method declares about itself reaches every place that needs it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import statistics
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from suite import adapters
from suite.adapters import registry
from suite.adapters.carriers.base import declared
from suite.adapters.carriers.config import TunerConfig, choices
from suite.adapters.registry import MethodInfo, peft_type_of
from suite.errors import InputError
from tests.adapters import toys
from tests.adapters.cases import arguments, fresh, randomise, sample

OURS = [name for name, info in adapters.methods().items() if info.source == "suite" and not name.startswith("toy_")]


@pytest.mark.parametrize("method", OURS)
def test_every_setting_has_a_help_text_and_every_choice_is_checked(method: str) -> None:
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(method)]
    own = {field.name for field in dataclasses.fields(config_class)} - {
        field.name for field in dataclasses.fields(TunerConfig.__mro__[1])
    }
    for field in dataclasses.fields(config_class):
        if field.name in own:
            assert len(field.metadata.get("help", "")) > 8, field.name
    for name, allowed in choices(config_class).items():
        with pytest.raises(InputError, match=f"{name} 'nonsense' must be {allowed[0]!r}"):
            adapters.attach(fresh("mlp"), method, **{**arguments(method, "mlp"), name: "nonsense"})


def test_the_family_of_a_method_is_its_folder() -> None:
    assert adapters.methods()["pcsa"].kind == "additive"
    assert adapters.methods()["krona"].kind == "reparameterized"
    for stated in (None, "nonsense"):
        with pytest.raises(ValueError, match="kind"):
            declared(MethodInfo("trial", stated), toys.Hut)
    inside = type("Trial", (), {"__module__": "suite.adapters.methods.selective.trial"})
    assert declared(MethodInfo("trial"), inside).kind == "selective"
    with pytest.raises(ValueError, match="folder"):
        declared(MethodInfo("trial", "additive"), inside)


@pytest.mark.parametrize(
    ("method", "before", "after", "fits"),
    [
        ("krona", {"a1": 4, "a2": 8}, {"a1": 4, "a2": 8, "scaling": 0.5, "init": "gaussian"}, True),
        ("krona", {"a1": 4, "a2": 8}, {"a1": 4, "a2": 8, "layout": "official"}, False),
        ("ssf", {}, {"init": "identity"}, True),
        ("lora", {"r": 2}, {"r": 2, "lora_alpha": 3}, True),
        ("lora", {"r": 2}, {"r": 2, "lora_dropout": 0.5}, False),
        ("loha", {"r": 2}, {"r": 2, "alpha": 3}, False),
    ],
)
def test_adapters_that_are_swapped_differ_in_what_their_method_allows(method, before, after, fits, tmp_path) -> None:
    other = adapters.attach(fresh("mlp"), method, targets=["fc1"], **after)
    randomise(other)
    adapters.save(other, tmp_path / "other")
    model = adapters.attach(fresh("mlp"), method, targets=["fc1"], **before)
    if fits:
        adapters.swap(model, tmp_path / "other")
        torch.testing.assert_close(model(sample("mlp")), other(sample("mlp")))
        return
    with pytest.raises(InputError, match="load it instead"):
        adapters.swap(model, tmp_path / "other")


def test_a_prompt_method_of_another_package_is_one_of_pefts(llama, tokens, tmp_path) -> None:
    settings = {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}
    model = adapters.attach(llama(), "toy_factored", **settings, name="one")
    assert {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad} == {"a", "b"}
    model(input_ids=tokens).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    output = model(input_ids=tokens).logits.detach()
    assert output.shape[1] == tokens.shape[1] + 3
    adapters.save(model, tmp_path / "a")
    for loaded in (adapters.load(llama(), tmp_path / "a"), PeftModel.from_pretrained(llama(), str(tmp_path / "a"))):
        assert torch.equal(loaded(input_ids=tokens).logits, output)
    generated = [
        model.generate(input_ids=tokens, max_new_tokens=3, do_sample=False, use_cache=cached, pad_token_id=0)
        for cached in (True, False)
    ]
    assert torch.equal(*generated)
    with adapters.disabled(model):
        assert torch.equal(model(input_ids=tokens).logits, llama()(tokens).logits)
    model = adapters.attach(model, "toy_factored", **settings, name="two")
    adapters.activate(model, "one")
    assert torch.equal(model(input_ids=tokens).logits, output)
    assert torch.equal(adapters.detach(model)(tokens).logits, llama()(tokens).logits)
    with pytest.raises(InputError, match="start 'nonsense' must be 'random' or 'zero'"):
        adapters.attach(llama(), "toy_factored", start="nonsense", **settings)


ONE_FILE = '''"""A toy: a gain."""

from dataclasses import dataclass

import torch

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo


@dataclass
class LouderConfig(TunerConfig):
    """Settings of the toy."""


@tuner(MethodInfo("toy_louder", scalable=True, layers=("Linear",)), LouderConfig)
class Louder(WeightChange):
    parameter_names = ("gain",)

    def create(self, adapter, config):
        return {"gain": torch.zeros(self.out_features)}

    def change(self, weight, bias, adapter):
        gain = 1 + self.tensor("gain", adapter)
        return weight * gain[:, None], None if bias is None else bias * gain
'''


def test_a_method_is_one_new_file(tmp_path, monkeypatch) -> None:
    """Found, listed, attached, trained, saved, loaded and merged, with nothing told anywhere else."""
    from suite.adapters.methods import import_all, selective

    (tmp_path / "toy_louder.py").write_text(ONE_FILE)
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))  # other tests list the methods there are
    monkeypatch.setattr(selective, "__path__", [*selective.__path__, str(tmp_path)])
    import_all()
    assert adapters.methods()["toy_louder"].kind == "selective"
    model, x = adapters.attach(fresh("mlp"), "toy_louder", targets=["fc1"]), sample("mlp")
    assert adapters.count(model).trainable == model.fc1.out_features
    randomise(model)
    output = model(x)
    adapters.save(model, tmp_path / "saved")
    loaded = adapters.load(fresh("mlp"), tmp_path / "saved")
    assert torch.equal(loaded(x), output)
    adapters.merge(loaded)
    torch.testing.assert_close(loaded(x), output)


def test_a_method_is_read_in_one_sitting_and_the_core_names_none() -> None:
    """Half of the files have at most 120 lines; what all methods share tells none from another by its name."""
    lengths = {}
    for method in OURS:
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft_type_of(method)]
        lengths[method] = len(
            inspect.getsource(inspect.getmodule(getattr(tuner, "tuner_layer_cls", tuner))).splitlines()
        )
    assert statistics.median(lengths.values()) <= 120
    for file in sorted((Path(adapters.__file__).parent / "carriers").glob("*.py")):
        words = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not words & set(OURS), file.name
