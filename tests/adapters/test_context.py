"""Side information: who sees it, and when; checkpointing must recompute under the right one."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from suite import adapters
from suite.adapters import registry
from suite.adapters.carriers import Site, TunerConfig, tuner
from tests.adapters.cases import fresh, sample


@dataclass
class ShiftConfig(TunerConfig):
    """A method that adds a trained vector times a number from the context."""


@pytest.fixture(scope="module", autouse=True)
def _shift():
    @tuner(registry.MethodInfo("test_shift", "additive", "", "suite", layers=("Linear",)), ShiftConfig)
    class Shift(Site):
        parameter_names = ("v",)

        def create(self, adapter, config):
            return {"v": torch.zeros(self.host.out_features)}

        def after(self, args, kwargs, output, adapter):
            return output + self.context["amount"] * self.tensor("v", adapter) * output

    yield Shift
    registry._METHODS.pop("test_shift")
    for table in (PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING):
        table.pop("TEST_SHIFT")


def shifted():
    model = adapters.attach(fresh("vit"), "test_shift", targets=["fc1"])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.fill_(0.3)
    return model


def test_a_missing_value_says_how_to_give_it():
    model = shifted()
    with pytest.raises(KeyError, match="context\\(model, amount="):
        model(sample("vit"))
    with adapters.context(model, amount=0.0):
        assert torch.equal(model(sample("vit")), fresh("vit")(sample("vit")))
        with adapters.context(model, amount=2.0):
            assert not torch.equal(model(sample("vit")), fresh("vit")(sample("vit")))
    with pytest.raises(KeyError):
        model(sample("vit"))


def test_two_forwards_before_one_checkpointed_backward():
    """The recomputation of each forward must see its own context: the last one's gives a wrong gradient."""

    def gradients(prepare):
        model = shifted()
        prepare(model)
        model.train()
        losses = []
        for amount in (1.0, -2.0):
            with adapters.context(model, amount=amount):
                losses.append(model(sample("vit")).square().mean())
        sum(losses).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    plain = gradients(lambda model: None)
    torch.testing.assert_close(gradients(adapters.enable_checkpointing), plain)
    assert plain.abs().max() > 0


def test_transformers_own_checkpointing_sees_the_context():
    def gradients(checkpointed):
        model = adapters.attach(fresh("llama"), "test_shift", targets=["up_proj"])
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.fill_(0.3)
        if checkpointed:
            adapters.enable_checkpointing(model)
        model.train()
        losses = []
        for amount in (1.0, -2.0):
            with adapters.context(model, amount=amount):
                losses.append(model(sample("llama")).logits.square().mean())
        sum(losses).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    torch.testing.assert_close(gradients(True), gradients(False))


def test_a_copy_has_a_context_of_its_own():
    model = shifted()
    adapters.enable_checkpointing(model)
    twin = copy.deepcopy(model).train()
    with adapters.context(model, amount=1.0), pytest.raises(KeyError):
        twin(sample("vit"))
    with adapters.context(twin, amount=1.0):
        twin(sample("vit")).sum().backward()
    assert all(p.grad is None for p in model.parameters())
