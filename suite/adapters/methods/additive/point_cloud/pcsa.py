"""Point Cloud Spectral Adapter (PointGST): token features tuned in the eigenbasis of a graph over the patch centres.

Liang et al., Parameter-Efficient Fine-Tuning in Spectral Domain for Point Cloud Learning, arXiv 2410.08114, section 3.
With h = down(x), p its patch rows, U the eigenvectors of the graph over all centres and U_k those of the graphs over
consecutive centres in Morton order:

    out = up(SiLU(h) + U^T (g + SiLU(A LN1 g)) + U_k^T (q + SiLU(A LN2 q))),   g = U p,   q = U_k p_k

It stands beside the MLP: the block's output gets `out`, computed from the state between attention and MLP.

The forward transform is U p, not U^T p: the authors' code computes it so, and their checkpoints depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.methods.additive.point_cloud.pointsets import morton_order
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

Basis = Literal["exact", "released"]


class Spectrum(NamedTuple):
    """What the adapters of one forward share, from the centres (B, G, 3).

    Attributes:
        whole: eigenvectors of the graph over all centres, as columns, (B, G, G).
        local: those of the graphs over consecutive chunks, (B, G / L, L, L).
        order, inverse: the Morton order of the centres and its inverse, (B, G) int64.
    """

    whole: Tensor
    local: Tensor
    order: Tensor
    inverse: Tensor


@torch.no_grad()
def laplacian(centers: Tensor, basis: Basis = "exact") -> Tensor:
    """The normalised graph Laplacian (..., G, G) of centres (..., G, 3), float32.

    `exact`: distances by direct differences, scaled by each graph's own smallest one; coinciding centres have weight 1.
    `released`: as the authors' code, which scales by the smallest positive entry of the whole tensor. Its distances
    come from a matrix product, so on most inputs that entry is rounding noise; only its checkpoints should use it.
    """
    centers = centers.float()
    eye = torch.eye(centers.shape[-2], device=centers.device)
    if basis == "released":
        distance = torch.cdist(centers, centers)
        weight = 1.0 / (distance / distance[distance > 0].min() + eye)
    else:
        distance = (centers[..., :, None, :] - centers[..., None, :, :]).square().sum(-1).sqrt()
        apart = distance > 1e-6 * distance.amax((-2, -1), keepdim=True)
        nearest = distance.masked_fill(~apart, torch.inf).amin((-2, -1), keepdim=True)
        # Where centres coincide there is no distance to divide by; all of them coinciding leaves nearest infinite.
        weight = torch.where(apart, nearest / distance.clamp(min=torch.finfo(torch.float32).tiny), 1.0).clamp(max=1.0)
    scale = (weight.sum(-1) + 1e-6).rsqrt()
    return eye - scale[..., :, None] * weight * scale[..., None, :]


@torch.no_grad()
def eigenbasis(centers: Tensor, basis: Basis = "exact") -> Tensor:
    """Eigenvectors of the Laplacian as columns, by ascending eigenvalue, (..., G, G).

    With `exact` the sign of each is fixed: its component of largest magnitude (the first of equals) is positive.
    """
    with torch.autocast(centers.device.type, enabled=False):
        vectors = torch.linalg.eigh(laplacian(centers, basis)).eigenvectors
    if basis == "released":
        return vectors
    largest = vectors.abs().argmax(-2, keepdim=True)
    return vectors * vectors.gather(-2, largest).sign()


@torch.no_grad()
def spectrum(centers: Tensor, local: int, basis: Basis = "exact") -> Spectrum:
    """Everything the adapters need of the centres (B, G, 3).

    Raises:
        InputError: G is not divisible by `local`.
    """
    batch, groups, _ = centers.shape
    if groups % local:
        raise InputError(f"{groups} centres cannot be cut into chunks of {local}: choose local so that it divides them")
    order, inverse = morton_order(centers)
    chunks = centers.gather(1, order[..., None].expand(-1, -1, 3)).reshape(batch * groups // local, local, 3)
    parts = eigenbasis(chunks, basis).reshape(batch, groups // local, local, local)
    return Spectrum(eigenbasis(centers, basis), parts, order, inverse)


class SpectralAdapter(nn.Module):
    """The adapter on its own; submodules carry the names of the released code.

    Args:
        width: C of the tokens. rank: r inside.
        orientation: `released` transforms by U p, `gft` by U^T p, the graph Fourier transform as the field defines it.
    """

    def __init__(self, width: int, rank: int, orientation: Literal["released", "gft"] = "released") -> None:
        super().__init__()
        self.orientation = orientation
        self.norm_ly1 = nn.LayerNorm(rank)
        self.norm_ly2 = nn.LayerNorm(rank)
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        self.adapt1 = nn.Linear(rank, rank)
        nn.init.xavier_uniform_(self.down.weight)
        for layer in (self.up, self.adapt1):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, known: Spectrum) -> Tensor:
        """(B, T, C) to (B, T, C); the last G tokens are the patches, those before them only pass down-SiLU-up."""
        h = self.down(x)
        if torch.is_grad_enabled() and h.requires_grad:
            # Eight small tensors in every block would wait for the backward; making them again costs next to nothing.
            return self.up(checkpoint(self._inside, h, known, use_reentrant=False, preserve_rng_state=False))
        return self.up(self._inside(h, known))

    def _inside(self, h: Tensor, known: Spectrum) -> Tensor:
        groups = known.order.shape[1]
        patches = h[:, -groups:]
        index = known.order[..., None].expand_as(patches)
        chunks = patches.gather(1, index).view(*known.local.shape[:3], -1)
        tuned = self._tune(patches, known.whole, self.norm_ly1)
        local = self._tune(chunks, known.local, self.norm_ly2).flatten(1, 2)
        tuned = tuned + local.gather(1, known.inverse[..., None].expand_as(local))
        out = functional.silu(h)
        return torch.cat([out[:, :-groups], out[:, -groups:] + tuned], 1)

    def _tune(self, p: Tensor, basis: Tensor, norm: nn.LayerNorm) -> Tensor:
        forward, back = (basis, basis.mT) if self.orientation == "released" else (basis.mT, basis)
        g = forward.to(p.dtype) @ p
        return back.to(p.dtype) @ (g + functional.silu(self.adapt1(norm(g))))


class LocalSpectralAdapter(SpectralAdapter):
    """The detection and completion variant: no global graph, two local scales over one Morton order, U^T forward.

    Args:
        fix: add both scales, each put back in its own place. The released code overwrites the finer scale and adds
            the coarser one twice, once unsorted; its checkpoints need `fix=False`.
    """

    def __init__(self, width: int, rank: int, fix: bool = True) -> None:
        super().__init__(width, rank, orientation="gft")
        self.fix = fix

    def forward(  # type: ignore[override]  # one order of the patches at two scales, not two graphs
        self, x: Tensor, order: Tensor, inverse: Tensor, scales: tuple[Tensor, Tensor]
    ) -> Tensor:
        """(B, G, C) to (B, G, C); `scales` are the eigenvectors (B, G / L, L, L) at the finer and the coarser L."""
        h = functional.silu(self.down(x))
        index = order[..., None].expand_as(h)
        sorted_ = h.gather(1, index)
        tuned = [self._tune(sorted_.view(*s.shape[:3], -1), s, self.norm_ly2).flatten(1, 2) for s in scales]
        unsorted = [t.gather(1, inverse[..., None].expand_as(t)) for t in tuned]
        return self.up(h + (unsorted[0] + unsorted[1] if self.fix else unsorted[1] + tuned[1]))


@dataclass
class PcsaConfig(TunerConfig):
    """Settings of PCSA."""

    rank: int = field(default=36, metadata={"help": "Width inside the adapter."})
    local: int = field(default=32, metadata={"help": "Centres in a chunk; divides the number of patches."})
    basis: Basis = field(
        default="exact",
        metadata={
            "help": (
                "`exact` (reproducible, independent of batch companions) or `released` (the authors' checkpoints)."
            )
        },
    )
    orientation: Literal["released", "gft"] = field(
        default="released", metadata={"help": "`released` transforms by U p, `gft` by U^T p."}
    )
    between: str = field(
        default="norm2", metadata={"help": "Child of the block whose input is the state between attention and MLP."}
    )
    sequence_first: bool = field(default=False, metadata={"help": "The block's tokens are (T, B, C), as in PointGPT."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1 or self.local < 1:
            raise ValueError(f"rank={self.rank} and local={self.local} must be at least 1")


@tuner(
    MethodInfo(
        "pcsa",
        paper="2410.08114",
        trainable="bottlenecks and prompts of a block",
        mergeable=False,
        scalable=True,
        layers=("transformer block",),
    ),
    PcsaConfig,
)
class Pcsa(Site):
    """block(x) + adapter(state between attention and MLP); needs `centers` (B, G, 3), or a `spectrum`, as context."""

    module_names: ClassVar = ("adapter",)

    def create(self, adapter: str, config: PcsaConfig) -> dict[str, Tensor | nn.Module]:
        norm = getattr(self.host, config.between, None)
        if not isinstance(norm, nn.LayerNorm):
            raise InputError(
                f"{self.target}: {type(self.host).__name__} has no LayerNorm {config.between!r} between attention and "
                "MLP; target transformer blocks and set between="
            )
        module = SpectralAdapter(norm.normalized_shape[0], config.rank, config.orientation)
        if not config.init_weights:
            nn.init.normal_(module.up.weight, std=0.1)
        self.watch(norm, before=self._remember)
        return {"adapter": module}

    def _remember(self, _norm: nn.Module, args: tuple[Tensor, ...], _kwargs: dict[str, Any]) -> None:
        self.scratch.between = args[0]

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor, adapter: str) -> Tensor:
        config = self.settings[adapter]
        known = self.context.get("spectrum") or self.context.derived(
            ("pcsa", config.local, config.basis), lambda: spectrum(self.context["centers"], config.local, config.basis)
        )
        between = self.scratch.between
        state = between.transpose(0, 1) if config.sequence_first else between
        added = self.tensor("adapter", adapter)(state, known).to(output.dtype)
        return output + (added.transpose(0, 1) if config.sequence_first else added)
