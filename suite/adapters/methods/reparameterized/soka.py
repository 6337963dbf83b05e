"""SoKA: the leading Kronecker products of a weight train, the rest of it stays.

Chong et al., SoKA: Singular Value Decomposition with Kronecker Adaptation, arXiv 2506.15251. With W of (m1 m2, n1 n2),
R[(i1, j1), (i2, j2)] = W[i1 m2 + i2, j1 n2 + j2] and its decomposition R = sum_k s_k u_k v_k^T,

    W = sum_k s_k U_k kron V_k,   U_k = u_k as (m1, n1),   V_k = v_k as (m2, n2)      (van Loan and Pitsianis, 1993)
    W' = W + sum_{k<r} (U_k kron V_k - what it was at the start)

The rank is the smaller of what the energy and the elbow of the spectrum ask for, or given. What the paper prints of the
rearrangement is loose; this one is that for which the whole sum is W. There is no code of the authors'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor
from torch.nn import functional

from suite.adapters.carriers import WeightChange, tuner
from suite.adapters.carriers.weights import read_weight
from suite.adapters.fused.frozen import autocast_dtype, is_frozen_linear, is_plain_tensor, multiplies
from suite.adapters.methods.reparameterized.svfit import EnergyConfig, rank_of_energy
from suite.adapters.registry import MethodInfo


@dataclass
class SokaConfig(EnergyConfig):
    """Settings of SoKA."""

    r: int | None = field(default=None, metadata={"help": "Number of products; None for what the spectrum asks for."})
    r_max: int = field(default=64, metadata={"help": "At most so many, where r is None.", "live": True})
    energy: float = field(
        default=0.9, metadata={"help": "Share of the squared norm that they hold, where r is None.", "live": True}
    )
    m1: int | None = field(
        default=None, metadata={"help": "Rows of U; divides the output size. None for the divisor nearest its root."}
    )
    n1: int | None = field(default=None, metadata={"help": "Columns of U, likewise of the input size."})
    absorb_sigma: Literal["split", "left", "separate"] = field(
        default="split",
        metadata={
            "help": "s_k as its root in both factors (`split`), in U (`left`), or trained by itself (`separate`)."
        },
    )


@tuner(
    MethodInfo(
        "soka",
        paper="2506.15251",
        trainable="sums of Kronecker products",
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    SokaConfig,
)
class Soka(WeightChange):
    """W + sum_k s_k (U_k kron V_k), less its start."""

    parameter_names: ClassVar = ("u", "v", "sigma")  # (r, m1, n1), (r, m2, n2), (r,) where it is separate

    def create(self, adapter: str, config: SokaConfig) -> dict[str, Tensor]:
        self.settings[adapter] = config
        u, sigma, v = self._start(config)
        if not config.init_weights:
            u, v = u + 0.2 * u.abs().mean() * torch.randn_like(u), v + 0.2 * v.abs().mean() * torch.randn_like(v)
        return {"u": u, "v": v, **({"sigma": sigma} if config.absorb_sigma == "separate" else {})}

    def _start(self, config: SokaConfig) -> tuple[Tensor, Tensor, Tensor]:
        """U, sigma and V of the base weight in this layer's rank, as they are trained."""
        sizes = self._sizes(config)
        if getattr(self, "found_for", None) != sizes:
            self.found_for: tuple[int, int] = sizes
            self.rebuild()
        rank = self._rank(config)
        u, sigma, v = self.base_u[:rank], self.base_sigma[:rank], self.base_v[:rank]
        if config.absorb_sigma == "separate":
            return u.clone(), sigma.clone(), v.clone()
        root = sigma[:, None, None].sqrt() if config.absorb_sigma == "split" else sigma[:, None, None]
        return u * root, sigma.clone(), v * (root if config.absorb_sigma == "split" else 1)

    def _sizes(self, config: SokaConfig) -> tuple[int, int]:
        """m1 and n1 of this layer.

        Raises:
            ValueError: they do not divide its sizes.
        """
        m1, n1 = (
            nearest_root(size) if given is None else given
            for given, size in ((config.m1, self.out_features), (config.n1, self.in_features))
        )
        for name, part, size in (("m1", m1, self.out_features), ("n1", n1, self.in_features)):
            if part < 1 or size % part:
                raise ValueError(f"{self.target}: {name}={part} does not divide {size}; {nearest_root(size)} does")
        return m1, n1

    def _rank(self, config: SokaConfig) -> int:
        key = get_pattern_key(config.rank_pattern.keys(), self.target)
        rank = config.rank_pattern.get(key, config.r)
        if rank is None and self.base_sigma.is_meta:
            raise ValueError(f"{self.target}: the spectrum chooses r, which has no values here; give r")
        if rank is None:
            energy, elbow = rank_of_energy(self.base_sigma, config.energy), rank_of_elbow(self.base_sigma)
            return max(1, min(energy, elbow, config.r_max))
        if rank > len(self.base_sigma):
            raise ValueError(f"{self.target}: r={rank} is more than its {len(self.base_sigma)} Kronecker products")
        return rank

    def rebuild(self) -> None:
        u, sigma, v = kronecker_svd(read_weight(self.get_base_layer())[0], *self.found_for)
        for name, value in (("base_u", u), ("base_sigma", sigma), ("base_v", v)):
            self.register_buffer(name, value, persistent=False)

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {} if self.settings[adapter].r else {"rank_pattern": len(self.tensor("u", adapter))}

    def terms(self, adapter: str) -> tuple[Tensor, Tensor]:
        """All products of the change, those that it takes away with a minus: (2 r, m1, n1) and (2 r, m2, n2)."""
        u, v, config = self.tensor("u", adapter), self.tensor("v", adapter), self.settings[adapter]
        rank = len(u)
        if config.absorb_sigma == "separate":
            u = u * self.tensor("sigma", adapter)[:, None, None]
        start = self.base_u[:rank] * self.base_sigma[:rank, None, None]
        return torch.cat([u, -start]), torch.cat([v, self.base_v[:rank]])

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight + self.factor(adapter) * self._sum(*self.terms(adapter)).to(weight.dtype), bias

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        base = self.get_base_layer()
        if args or kwargs or len(adapters) != 1 or not is_plain_tensor(x) or not is_frozen_linear(self.base_layer):
            return super()._adapted(x, adapters, *args, **kwargs)
        u, v = self.terms(adapters[0])
        if not is_sum_cheaper(x, u, v) or not multiplies(x, base.weight):
            return super()._adapted(x, adapters, *args, **kwargs)
        x = x.to(autocast_dtype(x) or x.dtype)
        changed = torch.add(base.weight.to(x.dtype), self._sum(u, v).to(x.dtype), alpha=self.factor(adapters[0]))
        return functional.linear(x, changed, None if base.bias is None else base.bias.to(x.dtype))

    @staticmethod
    def _sum(u: Tensor, v: Tensor) -> Tensor:
        """All products together, by one product: (m1 m2, n1 n2)."""
        (_, m1, n1), (_, m2, n2) = u.shape, v.shape
        rearranged = u.flatten(1).T @ v.flatten(1)  # (m1 n1, m2 n2)
        return rearranged.view(m1, n1, m2, n2).transpose(1, 2).reshape(m1 * m2, n1 * n2)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        u, v = self.terms(adapter)
        x = self._cast_input_dtype(x, u.dtype)
        if is_sum_cheaper(x, u, v, beside=True):
            return torch.add(y, functional.linear(x, self._sum(u, v)), alpha=self.factor(adapter))
        grid = x.reshape(-1, u.shape[2], v.shape[2])  # (n, n1, n2)
        inner = torch.einsum("tbd,kcd->tbkc", grid, v)  # (n, n1, 2 r, m2)
        delta = torch.einsum("tbkc,kab->tac", inner, u)  # (n, m1, m2)
        return torch.add(y, delta.reshape(y.shape), alpha=self.factor(adapter))


def is_sum_cheaper(x: Tensor, u: Tensor, v: Tensor, beside: bool = False) -> bool:
    """Whether making the sum of all products first takes fewer multiplications than each product by its factors.

    Args:
        x: (..., n1 n2). u: (k, m1, n1). v: (k, m2, n2).
        beside: the sum is multiplied on its own, not with the base's weight in one product.
    """
    (terms, m1, n1), (_, m2, n2) = u.shape, v.shape
    vectors, size = x.numel() // x.shape[-1], m1 * m2 * n1 * n2
    apart = vectors * terms * n1 * m2 * (n2 + m1)
    return apart > size * (terms + vectors if beside else terms)


def kronecker_svd(weight: Tensor, m1: int, n1: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (k, m1, n1), the singular values (k,) and V (k, m2, n2), whose products sum to the weight (out, in)."""
    m2, n2 = weight.shape[0] // m1, weight.shape[1] // n1
    rearranged = weight.reshape(m1, m2, n1, n2).transpose(1, 2).reshape(m1 * n1, m2 * n2)
    u, sigma, v = torch.linalg.svd(rearranged, full_matrices=False)
    return u.T.reshape(-1, m1, n1).contiguous(), sigma, v.reshape(-1, m2, n2).contiguous()


def rank_of_elbow(sigma: Tensor) -> int:
    """Where the spectrum, scaled to the unit square, is farthest from the line between its ends."""
    if len(sigma) < 3:
        return len(sigma)
    values = (sigma.double() - sigma[-1]) / (sigma[0] - sigma[-1]).clamp(min=torch.finfo(sigma.dtype).tiny)
    line = 1 - torch.linspace(0, 1, len(sigma), dtype=values.dtype, device=values.device)
    return int((line - values).argmax()) + 1


def nearest_root(size: int) -> int:
    """The divisor of a size that is nearest to its square root."""
    return min((d for d in range(1, size + 1) if size % d == 0), key=lambda d: abs(math.log(d * d / size)))
