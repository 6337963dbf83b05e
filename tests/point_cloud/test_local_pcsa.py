"""PCSA's variant for detection and completion (PointGST): two local scales over one Morton order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.adapters.methods.additive.point_cloud.pcsa import LocalSpectralAdapter, eigenbasis
from suite.adapters.methods.additive.point_cloud.pointsets import gather, morton_order

WIDTH, RANK, GROUPS = 24, 6, 32


def adapter(fix: bool) -> LocalSpectralAdapter:
    torch.manual_seed(0)
    made = LocalSpectralAdapter(WIDTH, RANK, fix=fix)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def scene(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Tokens, order, inverse and the bases at scales 8 and 16."""
    generator = torch.Generator().manual_seed(1)
    centers = torch.rand(batch, GROUPS, 3, generator=generator) * 2 - 1
    x = torch.randn(batch, GROUPS, WIDTH, generator=generator)
    order, inverse = morton_order(centers)
    ordered = gather(centers, order)
    bases = [eigenbasis(ordered.view(-1, size, 3)).view(batch, -1, size, size) for size in (8, 16)]
    return x, order, inverse, (bases[0], bases[1])


def test_it_starts_as_zero() -> None:
    x, order, inverse, scales = scene()
    assert not LocalSpectralAdapter(WIDTH, RANK)(x, order, inverse, scales).any()


def test_the_fixed_variant_is_the_sum_of_both_scales_by_its_formula() -> None:
    """U (q + SiLU(A LN2 q)), q = U^T h, of each chunk of each cloud, put back in its own place."""
    x, order, inverse, scales = scene()
    made = adapter(fix=True)
    h = torch.nn.functional.silu(made.down(x))
    total = h.clone()
    for cloud in range(len(x)):
        for basis in scales:
            size = basis.shape[-1]
            for chunk in range(GROUPS // size):
                rows = order[cloud, chunk * size : (chunk + 1) * size]
                q = basis[cloud, chunk].T @ h[cloud, rows]
                total[cloud, rows] += basis[cloud, chunk] @ (
                    q + torch.nn.functional.silu(made.adapt1(made.norm_ly2(q)))
                )
    torch.testing.assert_close(made(x, order, inverse, scales), made.up(total), rtol=1e-4, atol=1e-5)


def test_the_released_variant_loses_the_finer_scale() -> None:
    x, order, inverse, scales = scene()
    made = adapter(fix=False)
    other = (scales[0].flip(-1), scales[1])
    assert torch.equal(made(x, order, inverse, scales), made(x, order, inverse, other))
    assert not torch.allclose(adapter(fix=True)(x, order, inverse, scales), made(x, order, inverse, scales))


def test_only_the_first_norm_gets_no_gradient() -> None:
    """LN1 belongs to the global graph, which this variant has not; its checkpoints hold it all the same."""
    x, order, inverse, scales = scene()
    made = adapter(fix=True)
    made(x, order, inverse, scales).sum().backward()
    assert {name for name, p in made.named_parameters() if p.grad is None} == {"norm_ly1.weight", "norm_ly1.bias"}


def test_clouds_do_not_depend_on_each_other() -> None:
    x, order, inverse, scales = scene(3)
    made = adapter(fix=True)
    alone = [
        made(x[i : i + 1], order[i : i + 1], inverse[i : i + 1], (scales[0][i : i + 1], scales[1][i : i + 1]))
        for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(alone), made(x, order, inverse, scales), rtol=1e-5, atol=1e-6)
