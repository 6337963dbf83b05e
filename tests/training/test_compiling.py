"""Compiling blocks one by one: the same training, under the same names."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from suite import adapters
from suite.adapters.context import CheckpointedForward
from suite.training import Procedure, TrainerConfig, compiling, fit, loader
from suite.training.choices import Capability
from suite.training.compiling import compile_module, load_of, uncompile_module
from tests.training.test_memory import gain  # noqa: F401 (a fixture)
from tests.training.toys import Dead, Language, Mortal, Rows, pad, tiny_llama

CONFIG = TrainerConfig(
    max_epochs=-1, max_steps=4, lr=1e-2, accumulate_grad_batches=2, ema=0.9, val_every=4, compile="blocks"
)


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """Everything but the making of kernels, which takes a compiler and long; and what was compiled."""
    torch._dynamo.reset()
    seen: list[nn.Module] = []

    def watched(module: nn.Module) -> None:
        seen.append(module)
        compile_module(module)

    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    monkeypatch.setattr(compiling, "compile_module", watched)
    yield seen
    torch._dynamo.reset()


def adapter(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


class Even(Rows):
    """Rows of one length: every other length would be traced anew."""

    def train_dataloader(self) -> DataLoader:
        return loader(torch.arange(96).view(12, 8) % 7, 2, collate_fn=lambda rows: pad(list(rows)))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(list(torch.arange(16).view(2, 8) % 5), 2, collate_fn=pad)


class Names(Procedure):
    """The names of all tensors while blocks are compiled."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.names = list(pl_module.state_dict())


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "bf16"])
def test_a_run_with_compiled_blocks_is_the_plain_run(
    checkpointed: bool, precision: str, traced: list[nn.Module], tmp_path: Path
) -> None:
    class Half(Language):
        def build(self) -> nn.Module:
            base = tiny_llama().to(torch.bfloat16 if precision == "bf16" else torch.float32)
            return adapters.attach(base, "lora", r=2, targets=["q_proj", "down_proj"])

    config = dataclasses.replace(CONFIG, gradient_checkpointing=checkpointed, precision=precision)
    names, recipe = Names(), Half()
    plain = fit(Half(), Even(), dataclasses.replace(config, compile=False), folder=tmp_path / "plain")
    assert not traced
    compiled = fit(recipe, Even(), config, [names], folder=tmp_path / "compiled")
    assert traced == list(recipe.model.model.layers)
    assert all(block._compiled_call_impl is None for block in traced)
    assert names.names == list(recipe.state_dict()) and not any("_orig_mod" in name for name in names.names)
    first, second = adapter(plain.folder), adapter(compiled.folder)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-2 if precision == "bf16" else 1e-5, rtol=1e-3)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_every=1)
    whole = fit(Mortal(0), Even(), config, folder=tmp_path / "whole")
    with pytest.raises(Dead):
        fit(Mortal(6), Even(), config, folder=tmp_path / "killed")
    done = fit(Mortal(0), Even(), config, resume=tmp_path / "killed")
    first, second = adapter(whole.folder), adapter(done.folder)
    assert all(torch.equal(second[name], value) for name, value in first.items())


class Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.linear = nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


class Stack(nn.Module):
    """Blocks of a plain module, whose library knows nothing of checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize("checkpointed", [False, True])
def test_hooks_and_context_reach_compiled_blocks(checkpointed: bool, gain: str) -> None:  # noqa: F811
    model = adapters.attach(Stack(), gain, targets=["linear"])
    if checkpointed:
        adapters.enable_checkpointing(model)
        assert all(isinstance(block.forward, CheckpointedForward) for block in model.blocks)
    leaves = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients() -> list[Tensor]:
        outputs = []
        for amount in (0.5, 2.0):
            with adapters.context(model, amount=amount):
                outputs.append(model(torch.ones(2, 8)).sum())
        return list(torch.autograd.grad(outputs[0] + outputs[1], leaves))

    wanted = gradients()
    for block in model.blocks:
        compile_module(block)
    for one, other in zip(gradients(), wanted, strict=True):
        torch.testing.assert_close(one, other)
    for block in model.blocks:
        uncompile_module(block)
    assert all(torch.equal(one, other) for one, other in zip(gradients(), wanted, strict=True))


def test_a_gpu_run_says_what_it_compiles_and_why(
    traced: list[nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Capability, "here", classmethod(lambda cls, accelerator="auto": cls("cuda")))
    config = dataclasses.replace(CONFIG, compile="auto")
    fit(Language(), Even(), config, folder=tmp_path / "short")
    assert "compile  nothing: it would pay back after some" in capsys.readouterr().err and not traced
    monkeypatch.setattr("suite.training.choices.COMPILE_SECONDS", 1e-3)
    fit(Language(), Even(), config, folder=tmp_path / "long")
    assert "compile  each block by itself" in capsys.readouterr().err and len(traced) == 2


def test_blocks_are_counted_by_kind() -> None:
    blocks = [*Stack().blocks, Block(4)]
    load = load_of(blocks, 10)
    assert load is not None and (load.steps, load.kinds, load.parameters) == (10, 2, 3 * 72 + 36)
    assert load_of([], 10) is None


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_blocks_compiled_to_kernels_change_nothing_but_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    data = Even()
    config = dataclasses.replace(CONFIG, max_steps=2, accumulate_grad_batches=1, lr=1e-3, val_every=1)
    plain = fit(Language(dropout=0.0), data, dataclasses.replace(config, compile=False), folder=tmp_path / "plain")
    compiled = fit(Language(dropout=0.0), data, config, folder=tmp_path / "compiled")
    for name, value in adapter(plain.folder).items():
        torch.testing.assert_close(adapter(compiled.folder)[name], value, atol=1e-5, rtol=1e-5)
