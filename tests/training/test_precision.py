"""Adapters that are cast once a batch train as under autocast, and nothing but the forward sees the copies."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from suite import adapters
from suite.adapters.nf4 import quantize_model
from suite.errors import InputError
from suite.training import Procedure, TrainerConfig, fit
from suite.training.precision import AdapterPrecision, Casts, can_cast, cast_places, frozen_dtype
from tests.adapters.cases import arguments, forward, fresh, pairs, randomise, sample
from tests.training.toys import Dead, Language, Mortal, Rows, tiny_llama

BF16 = torch.bfloat16
SHORT = TrainerConfig(
    max_epochs=-1,
    max_steps=3,
    lr=1e-2,
    accumulate_grad_batches=2,
    val_every=4,
    ema=0.9,
    precision="bf16",
    accelerator="cpu",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def halved(value: Any) -> Any:
    return value.to(BF16) if isinstance(value, Tensor) and value.is_floating_point() else value


def one_each() -> list[tuple[str, str]]:
    """Every method on the first kind of model that it fits: a Llama for peft's."""
    return list({method: (method, subject) for method, subject in reversed(pairs())}.values())


def gradients(method: str, subject: str, model: nn.Module, x: Any) -> dict[str, Tensor]:
    leaves = {name: p for name, p in model.named_parameters() if p.requires_grad}
    forward(method, subject, model, x).float().square().mean().backward()
    found = {name: p.grad for name, p in leaves.items() if p.grad is not None}
    for leaf in leaves.values():
        leaf.grad = None
    return found


@pytest.mark.parametrize(("method", "subject"), one_each())
def test_gradients_are_those_of_autocast(method: str, subject: str) -> None:
    try:
        model = adapters.attach(fresh(subject).to(BF16), method, **arguments(method, subject)).eval()
    except InputError as error:
        if "is required for" in str(error):
            pytest.skip(f"{method}: an optional package is not installed")
        raise
    randomise(model)
    x = tree_map(halved, sample(subject))
    with torch.autocast("cpu", BF16, cache_enabled=False):
        wanted = gradients(method, subject, model, x)
    leaves = {name: (p, p.dtype) for name, p in model.named_parameters()}
    casts = Casts(model)
    if frozen_dtype(model) is None:  # AdaLoRA counts its ranks in float32, ID3 trains the base's own weights
        assert method in ("adalora", "id3") and not can_cast(model)
        return
    assert can_cast(model) == adapters.methods()[method].half
    if not can_cast(model):
        with pytest.raises(RuntimeError, match=r"(same|mixed) dtype"), casts.held():
            forward(method, subject, model, x)
        return
    with casts.given_back():
        casts.put()
        assert all(p.dtype is BF16 for p in model.parameters() if p.is_floating_point())
        # Leaves are not among the parameters now; their gradients arrive all the same.
        loss = forward(method, subject, model, x).float().square().mean()
        loss.backward()
    found = {name: leaf.grad for name, (leaf, _) in leaves.items() if leaf.grad is not None}
    assert all(parameter is leaves[name][0] for name, parameter in model.named_parameters())
    assert all(leaf.dtype is dtype for leaf, dtype in leaves.values())
    assert found.keys() == wanted.keys() and all(found[name].dtype is leaves[name][1] for name in found)
    size = sum(value.double().square().sum() for value in wanted.values()) ** 0.5
    apart = sum((found[name].double() - value.double()).square().sum() for name, value in wanted.items()) ** 0.5
    assert apart <= 0.03 * size


class HalfBase(Mortal):
    """LoRA over a Llama in bfloat16; remembers what its forward and its optimiser saw."""

    def __init__(self, fatal: int = 0, packed: bool = False, dropout: float = 0.0) -> None:
        super().__init__(fatal, dropout=dropout)
        self.packed = packed
        self.ran: list[set[torch.dtype]] = []

    def build(self) -> nn.Module:
        base = tiny_llama(hidden_size=64, intermediate_size=64).to(BF16)
        model = quantize_model(base) if self.packed else base
        return adapters.attach(model, "lora", r=2, lora_dropout=self.dropout, targets=["q_proj", "v_proj"])

    def compute(self, batch: dict[str, Tensor]) -> Any:
        self.ran.append({p.dtype for p in self.model.parameters() if p.is_floating_point()})
        assert not torch.is_autocast_enabled("cpu")
        return super().compute(batch)


class Leaves(Procedure):
    """Checks that between forward and backward passes the model holds its parameters."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        trained = {name: p for name, p in pl_module.named_parameters() if p.requires_grad}
        assert trained and all(type(p) is nn.Parameter and p.dtype is torch.float32 for p in trained.values())
        self.gradients.append({name: p.grad.clone() for name, p in trained.items()})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        assert all(type(p) is nn.Parameter for p in pl_module.parameters())


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_holds_its_adapters_in_float32_and_computes_in_bfloat16(packed: bool, tmp_path: Path) -> None:
    plain, again = Leaves(), Leaves()
    recipe = HalfBase(packed=packed)
    run = fit(recipe, Rows(), SHORT, [plain], folder=tmp_path / "plain")
    assert recipe.ran and all(seen == {BF16} for seen in recipe.ran)
    assert all(t.dtype is torch.float32 for t in load_file(run.adapter / "adapter_model.safetensors").values())
    # What is recomputed in the backward pass sees the very same copies.
    fit(
        HalfBase(packed=packed), Rows(), replace(SHORT, gradient_checkpointing=True), [again], folder=tmp_path / "again"
    )
    assert len(plain.gradients) == 3
    for one, other in zip(plain.gradients, again.gradients, strict=True):
        assert all(torch.equal(other[name], value) for name, value in one.items())


def test_other_bases_run_under_autocast(tmp_path: Path) -> None:
    class Single(Language):
        def compute(self, batch: dict[str, Tensor]) -> Any:
            assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is BF16
            return super().compute(batch)

    fit(Single(), Rows(), SHORT, folder=tmp_path / "run")


def test_a_stopped_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    config = replace(SHORT, max_steps=6, checkpoint_every=1)
    whole = fit(HalfBase(dropout=0.1), Rows(), config, folder=tmp_path / "whole")
    mortal = HalfBase(fatal=8, dropout=0.1)
    with pytest.raises(Dead):
        fit(mortal, Rows(), config, folder=tmp_path / "killed")
    assert all(type(parameter) is nn.Parameter for parameter in mortal.parameters())
    done = fit(HalfBase(dropout=0.1), Rows(), config, resume=tmp_path / "killed")
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, done))
    assert all(torch.equal(other[name], value) for name, value in one.items())


def test_an_error_in_the_backward_pass_gives_the_parameters_back() -> None:
    model = adapters.attach(tiny_llama().to(BF16), "lora", r=2, targets=["q_proj"])
    plugin = AdapterPrecision()
    plugin.convert_module(model)
    with plugin.train_step_context():
        loss = model(input_ids=torch.ones(1, 3, dtype=torch.long)).logits.sum()
    assert not all(type(parameter) is nn.Parameter for parameter in model.parameters())

    class Failing(nn.Module):
        def backward(self, loss: Tensor) -> None:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        plugin.backward(loss, Failing(), None)  # type: ignore[arg-type]
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())


def test_over_several_processes_every_copy_has_its_own_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDP then reduces while the backward pass goes on, and sees which parameters are not used."""
    leaves = [nn.Parameter(torch.randn(3)) for _ in range(2)]
    for alone in (True, False):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda alone=alone: not alone)
        first, second = Casts(holder := nn.ParameterList(leaves)), holder
        with first.held():
            copies = list(second)
            assert all(copy.dtype is BF16 for copy in copies)
            copies[0].sum().backward()
        assert leaves[0].grad is not None and leaves[0].grad.dtype is torch.float32 and leaves[1].grad is None
        assert (copies[0].grad_fn is copies[1].grad_fn) == alone
        leaves[0].grad = None


def test_what_is_cast_and_when() -> None:
    model = adapters.attach(tiny_llama().to(BF16), "lora", r=2, targets=["q_proj"], name="first")
    assert can_cast(model) and len(cast_places(model)) == 4
    model = adapters.attach(model, "krona", a1=4, a2=8, targets=["v_proj"], name="second")
    adapters.activate(model, "second", trainable=False)
    # An adapter that is frozen but takes part is cast, one that does not take part is not.
    hung = [module for places in cast_places(model).values() for module, _ in places]
    kept = {id(child) for name, child in model.named_modules() if "v_proj" in name}
    assert len(hung) == 4 and all(id(module) in kept for module in hung)
    assert not any(parameter.requires_grad for parameter in cast_places(model)) and can_cast(model)
    assert frozen_dtype(tiny_llama().requires_grad_(False)) is torch.float32
    mixed = tiny_llama().to(BF16).requires_grad_(False)
    mixed.lm_head.float()
    assert frozen_dtype(mixed) is None and not can_cast(mixed)
