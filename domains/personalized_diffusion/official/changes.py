"""What an adapter does to one weight, free of any file's format, and the algebra that exports and imports need.

Kronecker factors have Kronecker products of their singular vectors as singular vectors, so a change's exact low-rank
form, and its best one at a lower rank, come from the small factors alone: A kron B = (U1 kron U2)(S1 kron S2)(V1 kron
V2)^T. The official layout permutes the output rows, which changes U only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from domains.personalized_diffusion.model.families import of_modules
from suite.adapters.methods.reparameterized.krona import fit
from suite.errors import InputError


@dataclass(frozen=True)
class Kronecker:
    """scaling * (A kron B).

    Attributes:
        a: (a1, a2).
        b: (b1, b2).
        scaling: plain factor.
        official: the output rows are in the order of the authors' code.
    """

    a: Tensor
    b: Tensor
    scaling: float = 1.0
    official: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.a.shape[0] * self.b.shape[0], self.a.shape[1] * self.b.shape[1]

    def delta(self) -> Tensor:
        """(out, in)."""
        product = torch.kron(self.a, self.b) * self.scaling
        return _official_rows(product, self.a.shape[0]) if self.official else product

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (out, k), S (k,), V^T (k, in) in float64, k = min(a1, a2) * min(b1, b2); S is in no order."""
        (u1, s1, v1), (u2, s2, v2) = (
            torch.linalg.svd(factor.double(), full_matrices=False) for factor in (self.a, self.b)
        )
        u = torch.kron(u1, u2) * (1.0 if self.scaling >= 0 else -1.0)
        u = _official_rows(u, self.a.shape[0]) if self.official else u
        return u, torch.kron(s1, s2) * abs(self.scaling), torch.kron(v1, v2)


@dataclass(frozen=True)
class LowRank:
    """scaling * up @ down, as LoRA has it.

    Attributes:
        down: (r, in) or (r, in, kernel...).
        up: (out, r) or (out, r, 1...).
        scaling: alpha / r.
        magnitude: (out,) of DoRA (Liu et al., arXiv 2402.09353, equation 5): the norms of the changed weight's rows.
            Such a change exists relative to its base only.
    """

    down: Tensor
    up: Tensor
    scaling: float = 1.0
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.up.shape[0], *self.down.shape[1:]

    def delta(self) -> Tensor:
        """(out, in) or (out, in, kernel...)."""
        self._check_absolute()
        return (self.scaling * self.up.flatten(1) @ self.down.flatten(1)).reshape(self.shape)

    def _check_absolute(self) -> None:
        if self.magnitude is not None:
            raise InputError("DoRA changes weights relative to their norms: only --to lora and --to merged can hold it")

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (out, r), S (r,), V^T (r, in * kernel) in float64."""
        self._check_absolute()
        q_up, r_up = torch.linalg.qr(self.scaling * self.up.flatten(1).double())
        q_down, r_down = torch.linalg.qr(self.down.flatten(1).double().T)
        u, s, vt = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
        return q_up @ u, s, vt @ q_down.T


@dataclass(frozen=True)
class Hadamard:
    """scaling * (w1_a @ w1_b) * (w2_a @ w2_b) entry by entry, as LoHa has it (Hyeon-Woo et al., arXiv 2108.06098).

    Attributes:
        w1_a, w2_a: (out, r).
        w1_b, w2_b: (r, in).
        scaling: alpha / r.
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    scaling: float = 1.0

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.w1_a.shape[0], self.w1_b.shape[1]

    def delta(self) -> Tensor:
        """(out, in)."""
        return self.scaling * (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b)

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (out, k), S (k,), V^T (k, in) in float64."""
        return Dense(self.delta()).svd()


@dataclass(frozen=True)
class Dense:
    """A difference given entry by entry.

    Attributes:
        weight: (out, in) or (out, in, kernel...).
    """

    weight: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)

    def delta(self) -> Tensor:
        return self.weight

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (out, k), S (k,), V^T (k, in * kernel) in float64."""
        u, s, vt = torch.linalg.svd(self.weight.flatten(1).double(), full_matrices=False)
        return u, s, vt


Change = Kronecker | LowRank | Hadamard | Dense
Changes = Mapping[str, Mapping[str, Change]]
"""Component (`unet`, `text_encoder`, ...) to module name to what happens to that module's weight."""


def low_rank(change: Change, rank: int | None = None) -> tuple[LowRank, float]:
    """A change as LoRA.

    Args:
        change: what to factor.
        rank: the most that the result may have; None for the smallest that is exact.

    Returns:
        The best change of that rank, and its error: the norm of what is missing over the norm of all.
    """
    if isinstance(change, LowRank) and (rank is None or rank >= change.rank):
        return change, 0.0
    u, s, vt = change.svd()
    order = torch.argsort(s, descending=True)
    # What float32 factors cannot tell from zero is no rank.
    significant = int((s > s.max() * max(change.shape) * torch.finfo(torch.float32).eps).sum())
    kept = order[: max(1, significant if rank is None else min(rank, significant))]
    root = s[kept].sqrt()
    down, up = root[:, None] * vt[kept], u[:, kept] * root
    total = s.square().sum()
    missing = (total - s[kept].square().sum()).clamp(min=0)
    error = float((missing / total).sqrt()) if total > 0 and len(kept) < significant else 0.0
    kernel = [1] * (len(change.shape) - 2)
    dtype = torch.float32
    return LowRank(down.to(dtype).reshape(-1, *change.shape[1:]), up.to(dtype).reshape(len(u), -1, *kernel)), error


def fitted(change: Change, a1: int, a2: int, *, official: bool = False, where: str = "") -> tuple[Kronecker, float]:
    """The nearest Kronecker change (van Loan), and the share of the squared norm that it holds.

    Raises:
        InputError: the factors do not divide the weight, or the weight is a convolution's.
    """
    if isinstance(change, Kronecker) and change.official == official and tuple(change.a.shape) == (a1, a2):
        return change, 1.0
    if len(change.shape) != 2:
        raise InputError(f"{where} is a convolution {tuple(change.shape)}; KronA adapts linear layers only")
    out_features, in_features = change.shape
    if out_features % a1 or in_features % a2:
        raise InputError(f"{where}: factors ({a1}, {a2}) do not divide {in_features} in, {out_features} out")
    delta = change.delta().float()
    if not delta.any():
        return Kronecker(torch.zeros(a1, a2), torch.zeros(out_features // a1, in_features // a2), 1.0, official), 1.0
    a, b, captured = fit(delta, a1, a2, official=official)
    return Kronecker(a.contiguous(), b.contiguous(), 1.0, official), captured


def fit_all(
    changes: Changes, factors: tuple[int, int], *, official: bool = False
) -> tuple[dict[str, dict[str, Kronecker]], float]:
    """Every change as KronA of the same factors, and the share of the squared norm of all that they hold.

    Raises:
        InputError: see `fitted`.
    """
    held = total = 0.0
    made: dict[str, dict[str, Kronecker]] = {}
    for component, modules in changes.items():
        for name, change in modules.items():
            near, share = fitted(change, *factors, official=official, where=f"{component}: {name}")
            made.setdefault(component, {})[name] = near
            squared = float(change.delta().double().square().sum())
            held, total = held + share * squared, total + squared
    return made, held / total if total else 1.0


def combined(parts: Sequence[Changes]) -> dict[str, dict[str, Change]]:
    """Several adapters' changes as one, exactly.

    Two Kronecker products, even of the same factors, add up to none; ranks stack, so what several of them change
    becomes low-rank, or a difference entry by entry where one of them is.

    Raises:
        InputError: two of them give one module different sizes.
    """
    gathered: dict[str, dict[str, list[Change]]] = {}
    for changes in parts:
        for component, modules in changes.items():
            for name, change in modules.items():
                gathered.setdefault(component, {}).setdefault(name, []).append(change)
    for component, lists in gathered.items():
        for name, found in lists.items():
            if len({change.shape for change in found}) > 1:
                sizes = " and ".join(str(change.shape) for change in found)
                raise InputError(f"the adapters are for different bases: {component}: {name} is {sizes}")
    return {part: {name: _sum(found) for name, found in lists.items()} for part, lists in gathered.items()}


def _sum(changes: Sequence[Change]) -> Change:
    if len(changes) == 1:
        return changes[0]
    if any(isinstance(change, Dense) for change in changes):
        return Dense(torch.stack([change.delta() for change in changes]).sum(0))
    ranked = [low_rank(change)[0] for change in changes]
    ups = torch.cat([change.up * change.scaling for change in ranked], 1)
    return LowRank(torch.cat([change.down for change in ranked]), ups)


def folded(change: Kronecker) -> Kronecker:
    """The same change with a scaling of one, for formats that have none."""
    return change if change.scaling == 1 else replace(change, a=change.a * change.scaling, scaling=1.0)


def parameters(changes: Changes) -> int:
    """Numbers that the changes are made of."""
    parts = {Kronecker: ("a", "b"), LowRank: ("down", "up"), Dense: ("weight",)}
    parts[Hadamard] = ("w1_a", "w1_b", "w2_a", "w2_b")
    return sum(
        getattr(change, part).numel()
        for modules in changes.values()
        for change in modules.values()
        for part in parts[type(change)]
    )


def _official_rows(matrix: Tensor, a1: int) -> Tensor:
    """Move row q * b1 + p to p * a1 + q."""
    return matrix.reshape(a1, -1, matrix.shape[1]).transpose(0, 1).reshape(matrix.shape)


def transformer_family(modules: Mapping[str, Change]) -> str | None:
    """The family of the transformer that has these modules, by their names and widths; None where nothing tells."""
    width = next((change.shape[-1] for name, change in modules.items() if name.endswith(".to_q")), None)
    return of_modules(modules, width)


def cross_attention_width(changes: Changes) -> int | None:
    """Input size of the UNet's cross-attention keys and values, where they are adapted."""
    return next(
        (c.shape[1] for n, c in changes.get("unet", {}).items() if n.endswith(("attn2.to_k", "attn2.to_v"))), None
    )
