"""Another file's tensors in the place of an attached adapter's, with the settings that the forward reads."""

from __future__ import annotations

import pytest
import torch

from suite import adapters
from tests.adapters.cases import fresh, randomise, sample


@pytest.mark.parametrize("method", ["lora", "paca"])
def test_swap_takes_the_alpha_patterns_of_the_new_adapter(method, tmp_path):
    name = {"lora": "lora_alpha", "paca": "alpha"}[method]
    x = sample("mlp")
    outputs = []
    for number, pattern in enumerate(({}, {"fc1": 32}, {"fc1": 16, r"fc\d": 24}, {"fc1": 16, r"fc\d": 24})):
        model = adapters.attach(
            fresh("mlp"), method, targets=["fc1", "fc2"], r=4, alpha_pattern=pattern, **{name: 8 + 8 * (number > 2)}
        )
        randomise(model, seed=number)
        adapters.save(model, tmp_path / str(number))
        outputs.append(model(x))
    model = adapters.load(fresh("mlp"), tmp_path / "0")
    for number in (1, 2, 3, 0, 3):
        adapters.swap(model, tmp_path / str(number))
        torch.testing.assert_close(model(x), outputs[number], atol=1e-6, rtol=0)
