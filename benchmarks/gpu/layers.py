"""One layer, forward and backward in bf16: KronA beside LoRA, and beside both ways to compute its product.

KronA's product is taken in its factors, which is cheap in multiplications, or as one product with W + kron(A, B), which
is one launch: the layer chooses by its sizes, and must not be slower than the better by more than 5 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu.claim import Figure, Setting, now
from suite import adapters

SHAPES = ((4096, 640), (1024, 1280), (4096, 1280), (16384, 640), (8192, 4096))
"""Tokens and width."""
SMOKE_SHAPES = ((16, 128),)
A1, A2 = 4, 64
RANK = 4


class Kronecker(nn.Module):
    """A frozen linear layer and the change of its weight, computed in one of the two ways."""

    def __init__(self, base: nn.Linear, in_factors: bool) -> None:
        super().__init__()
        self.base, self.in_factors = base, in_factors
        like = {"device": base.weight.device, "dtype": torch.float32}
        self.a = nn.Parameter(torch.randn(A1, A2, **like) / A1)
        self.b = nn.Parameter(torch.zeros(base.out_features // A1, base.in_features // A2, **like))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        if not self.in_factors:
            delta = torch.einsum("qi,pj->qpij", a, b).reshape(self.base.weight.shape)
            return functional.linear(x, self.base.weight + delta)
        blocks = x.reshape(-1, A2, b.shape[1])
        inner = torch.bmm(a.expand(blocks.shape[0], A1, A2), blocks)  # (tokens, A1, in / A2)
        return self.base(x) + functional.linear(inner, b).reshape(*x.shape[:-1], -1)


def candidates(width: int, device: torch.device) -> dict[str, nn.Module]:
    """The layers to compare, by name."""

    def linear() -> nn.Sequential:
        torch.manual_seed(0)
        layer = nn.Linear(width, width, bias=False, device=device, dtype=torch.bfloat16)
        return nn.Sequential(layer).requires_grad_(False)

    return {
        "frozen linear": linear(),
        "LoRA": adapters.attach(linear(), "lora", targets=["0"], r=RANK),
        "KronA": adapters.attach(linear(), "krona", targets=["0"], a1=A1, a2=A2),
        "in factors": Kronecker(linear()[0], in_factors=True),
        "in one product": Kronecker(linear()[0], in_factors=False),
    }


def measure(setting: Setting) -> Iterator[Figure]:
    """Milliseconds of every candidate at every shape; KronA against the better of its two ways."""
    for tokens, width in SMOKE_SHAPES if setting.smoke else SHAPES:
        layers = candidates(width, setting.device)
        x = torch.randn(tokens, width, device=setting.device, dtype=torch.bfloat16, requires_grad=True)
        taken = milliseconds(layers, x, *((2, 1) if setting.smoke else (15, 10)))
        better = min(taken["in factors"], taken["in one product"])
        note = ", ".join(f"{name} {value:.2f}" for name, value in taken.items())
        yield Figure(
            f"{tokens} x {width}: KronA / the better way", taken["KronA"] / better, "x", 1.05, "at most", note + " ms"
        )


def milliseconds(layers: dict[str, nn.Module], x: Tensor, rounds: int, calls: int) -> dict[str, float]:
    """Of a forward and backward, the median over rounds in which all take turns, after two to warm up."""
    gradient = torch.randn_like(x)
    taken: dict[str, list[float]] = {name: [] for name in layers}
    for number in range(rounds + 2):
        for name, layer in layers.items():
            start = now()
            for _ in range(calls):
                x.grad = None
                layer.zero_grad()
                with torch.autocast(x.device.type, torch.bfloat16):
                    y = layer(x)
                y.backward(gradient)
            if number >= 2:
                taken[name].append((now() - start) / calls * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}
