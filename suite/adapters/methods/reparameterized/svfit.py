"""SVFit: the largest singular values of a weight train, all else of it stays.

Sun et al., SVFit: Parameter-Efficient Fine-Tuning of Large Pre-Trained Models Using Singular Values, arXiv 2409.05926,
section 3:

    W = U diag(sigma) V^T,        W' = W + U_r diag(s - sigma_r) V_r^T,   s = sigma_r at the start

A convolution's weight is taken as the matrix (out, in * kernel). U and V are those of the base weight, made when the
adapter is attached or loaded and not saved: a file holds s alone. There is no code of the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.weights import CONVS, read_weight, run
from suite.adapters.registry import MethodInfo


@dataclass
class EnergyConfig(TunerConfig):
    """Settings of methods that train the leading terms of a weight's decomposition."""

    r: int | None = field(default=None, metadata={"help": "How many terms train; None for as many as `energy` takes."})
    energy: float = field(
        default=0.99, metadata={"help": "Share of the squared norm that they hold, where r is None.", "live": True}
    )
    rank_pattern: dict[str, int] = field(
        default_factory=dict, metadata={"help": "Other r for modules whose name ends in, or matches, the key."}
    )
    scaling: float = field(default=1.0, metadata={"help": "A plain factor of the change.", "strength": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r is not None and self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy={self.energy} must be above 0 and at most 1")


@dataclass
class SvfitConfig(EnergyConfig):
    """Settings of SVFit."""


@tuner(
    MethodInfo(
        "svfit",
        paper="2409.05926",
        trainable="r",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d"),
    ),
    SvfitConfig,
)
class Svfit(WeightChange):
    """W + U_r diag(s - sigma_r) V_r^T."""

    parameter_names: ClassVar = ("s",)

    def create(self, adapter: str, config: SvfitConfig) -> dict[str, Tensor]:
        if not hasattr(self, "sigma"):
            self.rebuild()
        s = self.sigma[: self._rank(config)].clone()
        if not config.init_weights:
            s = s + 0.2 * self.sigma.mean() * torch.randn_like(s)
        return {"s": s}

    def _rank(self, config: SvfitConfig) -> int:
        """How many of this layer's singular values train.

        Raises:
            ValueError: more than it has, or their number comes from values that are not there.
        """
        key = get_pattern_key(config.rank_pattern.keys(), self.target)
        rank = config.rank_pattern.get(key, config.r)
        if rank is None and self.sigma.is_meta:
            raise ValueError(f"{self.target}: energy chooses r from the weights, which have no values here; give r")
        rank = rank_of_energy(self.sigma, config.energy) if rank is None else rank
        if rank > len(self.sigma):
            raise ValueError(f"{self.target}: r={rank} is more than its {len(self.sigma)} singular values")
        return rank

    def rebuild(self) -> None:
        weight, _ = read_weight(self.get_base_layer())
        for name, value in zip(("left", "sigma", "right"), torch.linalg.svd(weight.flatten(1), False), strict=True):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        # Another base, or another rounding of this one, could ask for another rank.
        return {}, {} if self.settings[adapter].r else {"rank_pattern": len(self.tensor("s", adapter))}

    def shift(self, adapter: str) -> Tensor:
        """By how much the singular values change: (r,)."""
        s = self.tensor("s", adapter)
        return self.factor(adapter) * (s - self.sigma[: len(s)])

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        shift = self.shift(adapter)
        delta = (self.left[:, : len(shift)] * shift) @ self.right[: len(shift)]
        return weight + delta.reshape(weight.shape), bias

    def makes_weight(self) -> bool:
        return isinstance(self.get_base_layer(), CONVS)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        shift, base = self.shift(adapter), self.get_base_layer()
        right, left = self.right[: len(shift)], self.left[:, : len(shift)]
        x = self._cast_input_dtype(x, shift.dtype)
        if isinstance(base, CONVS):
            return y + run(base, x, ((left * shift) @ right).reshape(base.weight.shape), None)
        return y + functional.linear(functional.linear(x, right) * shift, left)


def rank_of_energy(sigma: Tensor, energy: float) -> int:
    """The smallest r whose largest singular values hold a share of the squared norm."""
    shares = sigma.double().square().cumsum(0)
    return int((shares < energy * shares[-1]).sum()) + 1
