"""Another file's tensors in the place of an attached adapter's, with the settings that the forward reads."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.testing

from suite import adapters
from tests.adapters.cases import arguments, fresh, randomise, sample


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


@pytest.mark.parametrize("method", ["sora", "krona", "ssf", "hut", "parallel_adapter", "low_rank_adapter"])
def test_a_compiled_model_stays_compiled_when_its_adapter_is_exchanged(method, tmp_path):
    """Tensors are written in place: no graph is made anew, and the outputs are the other adapter's."""
    x, other = sample("mlp"), adapters.attach(fresh("mlp"), method, **arguments(method, "mlp"))
    randomise(other, seed=8)
    adapters.save(other, tmp_path / "other")
    model = adapters.attach(fresh("mlp"), method, **arguments(method, "mlp")).eval()
    randomise(model, seed=9)
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter)
    with torch.no_grad():
        before = compiled(x)
        made = counter.frame_count
        adapters.swap(model, tmp_path / "other")
        after = compiled(x)
        torch.testing.assert_close(after, other.eval()(x))
    assert not torch.allclose(after, before)
    assert counter.frame_count == made
