"""SVDiff: a weight keeps its singular vectors, its singular values shift.

Han et al., SVDiff: Compact Parameter Space for Diffusion Fine-Tuning, arXiv 2303.11305, section 3.2:

    W' = U diag(relu(sigma + s * delta)) V^T,   W = U diag(sigma) V^T,   delta: min(out, in)

A convolution's weight is taken as the matrix (out, in * kernel). U, sigma and V are those of the base weight, found
when the adapter is attached; they are not saved. What other methods made of W before stays: the change that is added
is U diag(relu(sigma + s * delta) - sigma) V^T, which is the equation where W is the base weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.weights import CONVS, read_weight, run
from suite.adapters.registry import MethodInfo


@dataclass
class SvdiffConfig(TunerConfig):
    """Settings of SVDiff."""

    scaling: float = field(
        default=1.0,
        metadata={
            "help": "The plain factor s of the shift, e.g. less than 1 to weaken a trained adapter.",
            "strength": True,
        },
    )


@tuner(
    MethodInfo(
        "svdiff",
        paper="2303.11305",
        trainable="min(in, out)",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d"),
    ),
    SvdiffConfig,
)
class Svdiff(WeightChange):
    """U diag(relu(sigma + s * delta)) V^T."""

    parameter_names: ClassVar = ("shift",)

    def create(self, adapter: str, config: SvdiffConfig) -> dict[str, Tensor]:
        if not hasattr(self, "sigma"):
            self._decompose()
        shift = torch.zeros_like(self.sigma)
        if not config.init_weights:
            shift = 0.2 * self.sigma.mean() * torch.randn_like(self.sigma)
        return {"shift": shift}

    def rebuild(self) -> None:
        self._decompose()

    def _decompose(self) -> None:
        """Keep U, sigma and V of the base weight, once for all adapters on this layer."""
        weight, _ = read_weight(self.get_base_layer())
        for name, value in zip(("left", "sigma", "right"), torch.linalg.svd(weight.flatten(1), False), strict=True):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight + self._delta(adapter).reshape(weight.shape), bias

    def makes_weight(self) -> bool:
        return True

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        base, delta = self.get_base_layer(), self._delta(adapter)
        if isinstance(base, CONVS):
            delta = delta.reshape(base.weight.shape)
        return y + run(base, self._cast_input_dtype(x, delta.dtype), delta, None)

    def _delta(self, adapter: str) -> Tensor:
        """U diag(relu(sigma + s * delta) - sigma) V^T: (out, in * kernel)."""
        shifted = torch.relu(self.sigma + self.factor(adapter) * self.tensor("shift", adapter))
        return (self.left * (shifted - self.sigma)) @ self.right
