"""The base's weights as plain peft reads and writes them around methods that train in place."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.adapters.cases import fresh, randomise, sample

METHODS: dict[str, dict[str, Any]] = {
    "PACA": {"target_modules": ["fc1"], "r": 3},
    "BITFIT": {"target_modules": ["fc1"]},
    "PARAMETERS": {"target_modules": ["fc1"], "parameters": ["fc1.weight"]},
}


@pytest.mark.parametrize("method", METHODS)
def test_the_base_is_read_without_what_trains_in_it_and_written_past_it(method: str) -> None:
    base, x = fresh("mlp").state_dict(), sample("mlp")
    model = peft.get_peft_model(fresh("mlp"), PEFT_TYPE_TO_CONFIG_MAPPING[method](**METHODS[method]))
    randomise(model)
    trained = model(x)
    assert not torch.allclose(trained, fresh("mlp")(x), atol=1e-3)
    found = peft.get_base_model_state_dict(model)
    assert found.keys() == base.keys() and all(torch.equal(found[name], base[name]) for name in base)
    assert torch.equal(model(x), trained)
    assert all(torch.equal(found[name], base[name]) for name in base), "what was read is no view of what trains"

    other = {name: tensor + 0.25 for name, tensor in base.items()}
    peft.set_base_model_state_dict(model, other)
    found = peft.get_base_model_state_dict(model)
    assert all(torch.equal(found[name], other[name]) for name in base)
    with model.disable_adapter():
        plain = fresh("mlp")
        plain.load_state_dict(other)
        assert torch.equal(model(x), plain(x))
    assert not torch.allclose(model(x), trained, atol=1e-3)
