"""A classifier as one graph of plain operations, for programs without us: what ONNX has no words for, said in loops.

Sampling, neighbours, Morton order and eigenvectors are those of the model, without Python that looks at values, and
without `eigh`: ONNX has no eigendecomposition, so that the graph takes Jacobi rotations in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop  # `torch.while_loop` of later versions

from domains.point_cloud.model.forward import SideInformation, clouds_context
from domains.point_cloud.model.point_mae import PointTransformer
from suite.adapters.methods.additive.point_cloud.pcsa import PcsaConfig, Spectrum, laplacian
from suite.adapters.methods.additive.point_cloud.pointsets import NEAR_ORIGIN, gather, square_distance
from suite.errors import InputError

SWEEPS = 8
"""Of Jacobi rotations; each pair of rows is rotated once a sweep, and from some point on errors fall quadratically."""


class Exportable(nn.Module):
    """Points (B, N, 3) to logits (B, classes), N fixed; centring and scaling are part of it where the model has them.

    Raises:
        InputError: the model is of a kind that has no such graph.
    """

    def __init__(self, model: nn.Module, normalise: bool) -> None:
        super().__init__()
        if not isinstance(model, PointTransformer):
            raise InputError(f"only classifiers on Point-MAE's network are written, not {type(model).__name__}")
        if model.config.channels:
            raise InputError("only classifiers of places are written, and this one sees values beside them")
        self.model, self.normalise = model, normalise
        found = [config for part in model.modules() for config in (getattr(part, "settings", None) or {}).values()]
        spectral = {(config.local, config.basis) for config in found if isinstance(config, PcsaConfig)}
        if any(basis == "released" for _, basis in spectral) or len(spectral) > 1:
            raise InputError("an adapter with basis: released depends on the batch, which no file for others should")
        if any(getattr(config, "indexing", None) is not None for config in found):
            raise InputError("Point-PEFT's adapters have no graph of plain operations; merge-free methods alone have")
        self.local = next(iter(spectral))[0] if spectral else 0

    def forward(self, points: Tensor) -> Tensor:
        if self.normalise:
            points = points - points.mean(1, keepdim=True)
            points = points / points.square().sum(-1, keepdim=True).sqrt().amax(1, keepdim=True)
        config = self.model.config
        centers = gather(points, _farthest(points, config.num_group))
        distance = square_distance(centers, points)  # (B, G, N)
        index = distance.topk(config.group_size, largest=False).indices
        patches = gather(points, index) - centers[:, :, None]
        extra = {"spectrum": _spectrum(centers, self.local)} if self.local else {}
        with clouds_context(self.model, SideInformation(points, centers, extra)):
            return self.model(points, groups=(patches, centers))


def _loop(
    more: Callable[..., Tensor], body: Callable[..., tuple[Tensor, ...]], state: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """`body` while `more`: one node of the graph where one is made, and Python's own loop, far faster, where not."""
    if torch.compiler.is_exporting():
        return while_loop(more, body, state)
    while more(*state):
        state = body(*state)
    return state


def _farthest(points: Tensor, count: int) -> Tensor:
    """Indices (B, count) of the farthest points of clouds (B, N, 3), as `farthest_point_sample` finds them."""
    allowed = points.square().sum(-1) > NEAR_ORIGIN
    distance = torch.where(allowed, 1e10, -1.0).to(points.dtype)
    places = torch.arange(count, device=points.device)
    picked = torch.zeros_like(points[:, :1, 0], dtype=torch.int64).expand(-1, count).contiguous()
    step = torch.ones((), dtype=torch.int64)

    def more(step: Tensor, distance: Tensor, picked: Tensor) -> Tensor:
        return step < count

    def pick(step: Tensor, distance: Tensor, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        last = (picked * (places == step - 1)).sum(1, keepdim=True)  # (B, 1)
        apart = (points - points.gather(1, last[..., None].expand(-1, -1, 3))).square().sum(-1)
        nearer = torch.minimum(distance, apart)
        chosen = nearer.argmax(1, keepdim=True)
        return step + 1, nearer, torch.where(places == step, chosen, picked)

    return _loop(more, pick, (step, distance, picked))[2]


def _spectrum(centers: Tensor, local: int) -> Spectrum:
    """What spectral adapters need of centres (B, G, 3)."""
    groups = centers.shape[1]
    order = _morton_order(centers)
    chunks = gather(centers, order).reshape(-1, local, 3)
    parts = _eigenbasis(laplacian(chunks)).reshape(-1, groups // local, local, local)
    return Spectrum(_eigenbasis(laplacian(centers)), parts, order, order.argsort(-1))


def _morton_order(centers: Tensor) -> Tensor:
    """The order (B, G) of `pointsets.morton_order`: in arithmetic, since ONNX shifts no signed numbers."""
    x, y, z = (centers * 100).trunc().to(torch.int64).remainder(1 << 16).unbind(-1)
    key = torch.zeros_like(x)
    for bit in range(16):
        for place, axis in ((2, y), (1, x), (0, z)):
            key = key + axis.div(1 << bit, rounding_mode="floor").remainder(2) * (1 << (3 * bit + place))
    groups = centers.shape[1]
    # Keys of 48 bits with the place of each below them: equal keys keep their order.
    return (key * groups + torch.arange(groups, device=centers.device)).argsort(-1)


def _eigenbasis(matrix: Tensor) -> Tensor:
    """Eigenvectors as columns, by ascending eigenvalue, their largest component positive, (..., G, G) float32."""
    size = matrix.shape[-1]
    if size % 2:
        raise InputError(f"graphs of {size} centres, an odd number, have no graph of plain operations")
    turned = _tournament(size).to(matrix.device)
    found = matrix.double()
    vectors = torch.eye(size, dtype=torch.float64, device=matrix.device).expand(found.shape).contiguous()
    step = torch.zeros((), dtype=torch.int64)

    def more(step: Tensor, found: Tensor, vectors: Tensor) -> Tensor:
        return step < SWEEPS * (size - 1)

    def rotate(step: Tensor, found: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found, vectors = _rotated(found, vectors)
        return step + 1, found[..., turned][..., turned, :].contiguous(), vectors[..., turned].contiguous()

    _, found, vectors = _loop(more, rotate, (step, found, vectors))
    order = found.diagonal(dim1=-2, dim2=-1).argsort(-1)
    vectors = vectors.gather(-1, order[..., None, :].expand(vectors.shape)).float()
    largest = vectors.abs().argmax(-2, keepdim=True)
    return vectors * vectors.gather(-2, largest).sign()


def _rotated(found: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobi rotations of the neighbouring pairs (0, 1), (2, 3), ... at once; Golub and Van Loan, section 8.5."""
    p, q = found[..., 0::2, 0::2], found[..., 1::2, 1::2]
    p, q, mixed = (part.diagonal(dim1=-2, dim2=-1) for part in (p, q, found[..., 0::2, 1::2]))
    none = mixed == 0
    ratio = (q - p) / (2 * torch.where(none, 1.0, mixed))
    tangent = torch.where(ratio >= 0, 1.0, -1.0) / (ratio.abs() + (1 + ratio * ratio).sqrt())
    tangent = torch.where(none, 0.0, tangent)
    cosine = (1 + tangent * tangent).rsqrt()
    sine = tangent * cosine

    def columns(of: Tensor) -> Tensor:
        even, odd = of[..., 0::2], of[..., 1::2]
        c, s = cosine[..., None, :], sine[..., None, :]
        return torch.stack([c * even - s * odd, s * even + c * odd], -1).flatten(-2)

    return columns(columns(found).mT).mT, columns(vectors)


def _tournament(size: int) -> Tensor:
    """How players change seats so that after `size` - 1 rounds each has sat beside each other (Brent and Luk)."""
    seats = torch.arange(size)
    top, bottom = seats[0::2], seats[1::2]
    if size == 2:
        return seats
    top, bottom = torch.cat([top[:1], bottom[:1], top[1:-1]]), torch.cat([bottom[1:], top[-1:]])
    return torch.stack([top, bottom], 1).flatten()
