"""A stranger's folder: what it says is checked before anything is built by it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample

# Each of them keeps `re` busy for longer than anybody waits.
CATASTROPHE = r"(.*)*(.*)*(.*)*_q"
NAMES = "fc1_which_is_a_rather_long_name_of_a_layer"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.add_module(NAMES, nn.Linear(8, 8))
        self.fc2 = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(getattr(self, NAMES)(x))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A maker of an adapter of `Net` whose config says something else, too."""

    def make(**changes: Any) -> Path:
        model = adapters.attach(Net(), "lora", targets=[NAMES, "fc2"], r=4)
        randomise(model)
        adapters.save(model, tmp_path / "a")
        file = tmp_path / "a/adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
        return tmp_path / "a"

    return make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": float("nan")}, "lora_alpha is nan, not a finite number"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"alpha_pattern": {"fc2": float("-inf")}}, r"alpha_pattern\.fc2 is -inf"),
        ({"lora_alpha": "16"}, "lora_alpha is '16', not a number"),
        ({"r": 2.5}, r"r is 2\.5, not a whole number"),
        ({"r": 10**9}, "r is 1000000000, not a whole number from 0 to"),
        ({"rank_pattern": {"fc2": 10**9}}, "rank_pattern is .*not a whole number from 0 to"),
        ({"lora_dropout": True}, "lora_dropout is True, not a number"),
        ({"target_modules": [1, 2]}, r"target_modules is \[1, 2\], not a list of names"),
        ({"target_modules": "fc(2"}, r"target_modules 'fc\(2' is no regular expression"),
        ({"rank_pattern": {"fc[2": 4}}, r"rank_pattern 'fc\[2' is no regular expression"),
        ({"rank_pattern": ["fc2"]}, r"rank_pattern is \['fc2'\], not an object"),
        ({"alpha_pattern": {"fc2": "many"}}, "alpha_pattern is .*not an object of numbers"),
        ({"peft_type": ["LORA"]}, "method .* is unknown"),
        ({"init_lora_weights": "pissa"}, "the base's weights"),
        ({"layer_replication": [[0, 5000]]}, "layer_replication rebuilds the base"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_of_a_stranger_is_checked(edited, changes, message):
    folder, model = edited(**changes), Net()
    with pytest.raises(InputError, match=message) as caught:
        adapters.load(model, folder)
    assert "\n" not in str(caught.value) and adapters.attached(model) == []


def test_a_pattern_that_would_take_for_ever_is_matched_under_a_limit(edited):
    """`target_modules`, `exclude_modules` and the keys of patterns."""
    started = time.thread_time()
    for changes in (
        {"target_modules": CATASTROPHE},
        {"exclude_modules": CATASTROPHE},
        {"rank_pattern": {CATASTROPHE: 2}},
        {"alpha_pattern": {CATASTROPHE: 2}},
        {"target_modules": None, "layers_pattern": [CATASTROPHE]},
    ):
        model = Net()
        try:
            adapters.load(model, edited(**changes))
        except InputError as error:
            assert "\n" not in str(error)
    assert time.thread_time() - started < 5


def test_a_costly_pattern_means_the_same(edited):
    x = torch.ones(1, 8)
    plain = adapters.load(Net(), edited(alpha_pattern={"fc2": 2, NAMES: 16}))
    costly = adapters.load(Net(), edited(target_modules="((fc)+.*)+", alpha_pattern={"(fc)+2": 2, "((fc)+1.*)+": 16}))
    assert torch.equal(costly(x), plain(x))


def test_a_pattern_that_is_swapped_in_is_matched_under_a_limit_too(edited):
    started, x = time.thread_time(), torch.ones(1, 8)
    plain = adapters.load(Net(), edited(alpha_pattern={"fc2": 2, NAMES: 16}))
    model = adapters.load(Net(), edited(target_modules=CATASTROPHE.removesuffix("_q")))
    adapters.swap(model, edited(target_modules=CATASTROPHE, alpha_pattern={"(fc)+2": 2, "((fc)+1.*)+": 16}))
    assert torch.equal(model(x), plain(x))
    with pytest.raises(InputError, match=r"layers_pattern .* is too costly to match"):
        adapters.swap(model, edited(layers_to_transform=[0], layers_pattern=[CATASTROPHE]))
    assert torch.equal(model(x), plain(x))
    adapters.swap(model, edited(alpha_pattern={CATASTROPHE: 2}))
    assert time.thread_time() - started < 5


def test_an_adapter_whose_patterns_were_replaced_is_swapped_for_itself(edited):
    folder = edited(rank_pattern={"((fc)+1.*)+": 4})
    model = adapters.load(Net(), folder)
    adapters.swap(model, folder)


def test_no_decomposition_runs_for_weights_that_come_from_the_file(edited, monkeypatch):
    for start in ("orthogonal", "mica"):
        folder = edited(init_lora_weights=start)
        with monkeypatch.context() as patched:
            for name in ("svd", "qr"):
                patched.setattr(torch.linalg, name, lambda *args, **kwargs: pytest.fail("decomposed"))
            adapters.load(Net(), folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.fill_(float("nan")), "holds NaN or Inf"),
        (lambda tensor: tensor.to(torch.int32), r"is torch\.int32, the model's torch\.float32"),
        (lambda tensor: tensor > 0, r"is torch\.bool, the model's torch\.float32"),
    ],
    ids=["nan", "integers", "booleans"],
)
def test_weights_that_are_no_finite_numbers_are_refused(edited, change, message):
    file = edited() / "adapter_model.safetensors"
    save_file({key: change(tensor) for key, tensor in load_file(file).items()}, file)
    model = Net()
    with pytest.raises(InputError, match=message):
        adapters.load(model, file.parent)
    assert adapters.attached(model) == []


def test_a_pickle_that_holds_no_named_tensors_is_refused(edited):
    folder = edited()
    (folder / "adapter_model.safetensors").unlink()
    for content in ([torch.ones(1)], {"a": 1.0}):
        torch.save(content, folder / "adapter_model.bin")
        with pytest.raises(InputError, match="holds more than tensors by name"):
            adapters.load(Net(), folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("adapters", 3),
        ("adapters", {"folder": "."}),
        ("adapters", ["."]),
        ("base", []),
        ("base", "tiny"),
        ("base", {"reference": ["tiny"]}),
        ("base", {"reference": 7}),
        ("base", {"class": {}}),
        ("base", {"fingerprint": [1]}),
        ("domain", [1]),
        ("tie_groups", 7),
        ("tie_groups", ["a"]),
    ],
)
def test_a_manifest_with_something_else_where_an_object_stands(edited, key, value):
    file = edited() / "suite.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=r"suite\.json") as caught:
        adapters.load(Net(), file.parent)
    assert "\n" not in str(caught.value)


def test_whole_number_buffers_are_loaded_as_ever(tmp_path):
    model = adapters.attach(fresh("conv"), dict(method="paca", targets=["head"], r=2), train=["bn"], buffers=["bn"])
    randomise(model)
    adapters.save(model, tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = adapters.load(fresh("conv"), tmp_path / "a")
    assert torch.equal(loaded(sample("conv")), model(sample("conv")))
