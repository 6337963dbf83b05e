"""Clipping by the norm of the true gradients, whatever scales or steps them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.training import Procedure, TrainerConfig, fit
from suite.training import module as modules
from suite.training.clipping import clip_by_norm
from tests.training.toys import Language, Rows

CLIPPED = 0.02
"""Far below the norms that the toy's gradients have."""
CONFIG = TrainerConfig(
    max_steps=3, lr=1e-2, accumulate_grad_batches=2, gradient_clip_val=CLIPPED, limit_val_batches=0, accelerator="cpu"
)


class Norms(Procedure):
    """The norm of the gradients before clipping, and when the optimiser steps."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        self.before.append(norm(pl_module))

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        # Lightning zeroes before the next backward, so that the clipped gradients of the last step are still there.
        if any(p.grad is not None for p in pl_module.parameters()):
            self.after.append(norm(pl_module))


def norm(module: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm())


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser of a GPU run; the same kernel exists on the CPU."""

    def adamw(groups: Any, config: TrainerConfig) -> Optimizer:
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)

    monkeypatch.setattr(modules, "build_optimizer", adamw)


def adapter(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_gradients_are_clipped_for_the_fused_optimiser(precision: str, tmp_path: Path) -> None:
    norms = Norms()
    fit(Language(), Rows(), replace(CONFIG, precision=precision), [norms], folder=tmp_path / "run")
    assert len(norms.before) == 3 and min(norms.before) > 2 * CLIPPED
    assert norms.after == pytest.approx([CLIPPED] * len(norms.after), rel=1e-3) and norms.after


def test_the_norm_is_that_of_all_parameters_together() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(1))]
    for weight, value in zip(weights[:2], (3.0, 1.0), strict=True):
        weight.grad = torch.full_like(weight, value)
    optimizer = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:]}], lr=1.0)
    clip_by_norm(optimizer, None)
    clip_by_norm(optimizer, 100.0)
    assert weights[0].grad is not None and weights[0].grad[0] == 3.0
    clip_by_norm(optimizer, 0.5)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    assert float(torch.stack([gradient.norm() for gradient in gradients]).norm()) == pytest.approx(0.5, rel=1e-5)
    assert float(gradients[0][0] / gradients[1][0, 0]) == pytest.approx(3.0, rel=1e-6)


@pytest.mark.usefixtures("fused")
def test_scaled_gradients_of_half_precision_are_clipped_at_their_true_size(tmp_path: Path) -> None:
    """The scaler of fp16 stands at 65536, and the fused optimiser would divide by it only while it steps."""
    found = {}
    for precision in ("16-mixed", "32-true"):
        norms = Norms()
        recipe = Language(dropout=0.0)
        fit(recipe, Rows(noise=0.0), replace(CONFIG, precision=precision), [norms], folder=tmp_path / precision)
        found[precision] = norms
        assert norms.after == pytest.approx([CLIPPED] * len(norms.after), rel=1e-3) and norms.after
    assert found["16-mixed"].before == pytest.approx(found["32-true"].before, rel=2e-2)
    half, single = (adapter(tmp_path / precision) for precision in found)
    for name, value in single.items():
        assert (half[name] - value).abs().max() <= 0.3 * CONFIG.lr, name


@pytest.mark.usefixtures("fused")
def test_a_step_whose_gradients_overflow_is_left_out(tmp_path: Path) -> None:
    class Overflowing(Language):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            result = super().training_step(batch, batch_idx)
            return {**result, "loss": result["loss"] * (torch.inf if batch_idx == 0 else 1.0)}

    steps = []

    class Watch(Procedure):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            steps.append({n: p.detach().clone() for n, p in pl_module.named_parameters() if p.requires_grad})

    config = replace(CONFIG, precision="16-mixed", accumulate_grad_batches=1, max_steps=2)
    recipe = Overflowing(dropout=0.0)
    fit(recipe, Rows(), config, [Watch()], folder=tmp_path / "run")
    first, second = steps
    assert all("lora_B" not in name or not value.any() for name, value in first.items())
    assert any("lora_B" in name and value.any() for name, value in second.items())
    assert all(value.isfinite().all() for value in second.values())
