"""LoLDU: the first pivots of a weight's LDU decomposition train, all else of it stays.

Shi et al., LoLDU: Low-Rank Adaptation via Lower-Diag-Upper Decomposition, arXiv 2410.13618, section 3:

    W = P L D U,        W' = W + c P L_r diag(z - d_r) U_r,   c = alpha / r,   z = d_r at the start

with P a permutation, L and U of ones on the diagonal, D = diag(d). A convolution's weight is taken as the matrix
(out, in * kernel). P, L, d and U are those of the base weight, made anew when the adapter is loaded: a file holds z.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import RankedConfig, WeightChange, tuner
from suite.adapters.carriers.low_rank import chosen
from suite.adapters.carriers.weights import CONVS, read_weight, run
from suite.adapters.registry import MethodInfo

SMALLEST = 1e-12
"""A pivot below this share of the largest leaves no row of U to divide by it."""


@dataclass
class LolduConfig(RankedConfig):
    """Settings of LoLDU."""

    init: Literal["lu", "uniform", "s_uniform", "normal", "s_normal", "constant", "ones", "zeros"] = field(
        default="lu",
        metadata={
            "help": (
                "How z starts: `lu` with the pivots, which is the base; `uniform` and `normal` by their mean and "
                "spread, `s_uniform` and `s_normal` by 1, `constant` with their mean, `ones`, `zeros`."
            ),
            "live": True,
        },
    )


@tuner(
    MethodInfo(
        "loldu",
        paper="2410.13618",
        trainable="r",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d"),
    ),
    LolduConfig,
)
class Loldu(WeightChange):
    """W + c P L_r diag(z - d_r) U_r."""

    parameter_names: ClassVar = ("vector_z",)

    def create(self, adapter: str, config: LolduConfig) -> dict[str, Tensor]:
        if not hasattr(self, "pivots"):
            self.rebuild()
        rank = int(chosen(config.rank_pattern, self.target, config.r))
        if rank > len(self.pivots):
            raise ValueError(f"{self.target}: r={rank} is more than its {len(self.pivots)} pivots")
        d = self.pivots[:rank]
        if not d.is_meta and bool((d.abs() <= SMALLEST * self.pivots.abs().max()).any()):
            raise ValueError(f"{self.target}: a pivot of its weight is zero, so that it has no LDU; leave it out")
        z = started(d, config.init)
        return {"vector_z": z if config.init_weights else z + 0.3 * d.abs().mean() * torch.randn_like(d)}

    def rebuild(self) -> None:
        weight = read_weight(self.get_base_layer())[0].flatten(1)
        permutation, lower, upper = torch.linalg.lu(weight)
        pivots = upper.diagonal().clone()
        self.register_buffer("pivots", pivots, persistent=False)
        # P as an index instead of a matrix: row i of P L is row `order[i]` of L.
        self.register_buffer("lower", lower[permutation.argmax(dim=1)], persistent=False)
        self.register_buffer("upper", upper / pivots[:, None], persistent=False)

    def shift(self, adapter: str) -> Tensor:
        """c (z - d_r): (r,)."""
        config, z = self.settings[adapter], self.tensor("vector_z", adapter)
        alpha = chosen(config.alpha_pattern, self.target, config.alpha) * self.strength(adapter)
        return alpha / len(z) * (z - self.pivots[: len(z)])

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        shift = self.shift(adapter)
        delta = (self.lower[:, : len(shift)] * shift) @ self.upper[: len(shift)]
        return weight + delta.reshape(weight.shape), bias

    def makes_weight(self) -> bool:
        return isinstance(self.get_base_layer(), CONVS)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        shift, base = self.shift(adapter), self.get_base_layer()
        lower, upper = self.lower[:, : len(shift)], self.upper[: len(shift)]
        x = self._cast_input_dtype(x, shift.dtype)
        if isinstance(base, CONVS):
            return y + run(base, x, ((lower * shift) @ upper).reshape(base.weight.shape), None)
        return y + functional.linear(functional.linear(x, upper) * shift, lower)


def started(d: Tensor, init: str) -> Tensor:
    """z at the start, from the pivots d (r,)."""
    mean, spread = d.mean(), d.std(correction=0)
    if init == "uniform":
        return (torch.rand_like(d) - 0.5) * mean.abs()
    if init == "s_uniform":
        return 2 * torch.rand_like(d) - 1
    if init == "normal":
        return mean + spread * torch.randn_like(d)
    if init == "s_normal":
        return torch.randn_like(d)
    fixed = {"lu": d.clone(), "constant": torch.ones_like(d) * mean, "ones": torch.ones_like(d)}
    return fixed.get(init, torch.zeros_like(d))


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `parametrizations.weight.0.vector_z` (r,) of one layer as our tensor."""
    return {"vector_z": state["parametrizations.weight.0.vector_z"]}
