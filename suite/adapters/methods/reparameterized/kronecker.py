"""Products with a Kronecker product, and which of them is the cheapest for given sizes on a given device.

Three ways to compute x (W + s (A kron B))^T, A: a1 x a2, B: b1 x b2, W: a1 b1 x a2 b2:

- `a first` and `b first`: the layer's own product, and beside it x times one factor and then the other;
- `whole`: the changed weight in one element-wise operation, then one product with it. The backward makes the changed
  weight again instead of keeping it, and then its gradient, for the moment in which the factors' come of it: at most
  twice W's bytes, in one layer at a time, where LoRA keeps x A^T in every layer.

On an accelerator all keep nothing but x for the backward; on the CPU the orders of factors keep what stands between
their products, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.fused.frozen import autocast_dtype, is_transformed, without_autocast

Way = Literal["a first", "b first", "whole"]


@dataclass(frozen=True)
class Sizes:
    """The shapes of both factors."""

    a1: int
    a2: int
    b1: int
    b2: int

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> Sizes:
        return cls(*a.shape, *b.shape)

    @property
    def weight(self) -> int:
        """Entries of the weight."""
        return self.a1 * self.a2 * self.b1 * self.b2

    def multiplications(self) -> dict[Way, int]:
        """Multiplications a token of either order: with (4, 64) on 1280 x 1280 30,720 and 491,520."""
        return {
            "a first": self.a1 * self.a2 * self.b2 + self.a1 * self.b2 * self.b1,
            "b first": self.a2 * self.b2 * self.b1 + self.a1 * self.a2 * self.b1,
        }

    def order(self) -> Way:
        """The order with fewer multiplications."""
        costs = self.multiplications()
        return "a first" if costs["a first"] <= costs["b first"] else "b first"


@dataclass(frozen=True)
class Machine:
    """What a training step costs on a kind of device.

    Attributes:
        call: seconds from one operation's call to the next.
        bandwidth: bytes a second that element-wise operations and thin products read and write.
        rate: multiplications a second of large products.
    """

    call: float
    bandwidth: float
    rate: float

    def seconds(self, calls: int, moved: float, multiplications: float) -> float:
        """Calls run ahead of the device, so the longer of both is what one waits for."""
        return max(calls * self.call, moved / self.bandwidth + multiplications / self.rate)


# Measured on an H100 80 GB in bfloat16, forward and backward of one layer with a = (4, 64):
#   rate: the frozen layer alone takes 0.72 ms for 8192 tokens at width 4096, which is 2 x 8192 x 4096^2.
#   call: where products are small, what is above the frozen layer's 0.08 ms is calls: 0.51 ms for the 12 of LoRA,
#     0.44 to 0.51 ms for the 10 of the factored way.
#   bandwidth: three quarters of the 3.35 TB/s of its data sheet. 8192 x 4096 is then 1.11 ms factored (measured 1.04)
#     and 1.20 ms whole (1.35); the other sizes of the test are bound by calls.
ACCELERATOR = Machine(call=40e-6, bandwidth=2.5e12, rate=3.8e14)


def cheapest(tokens: int, sizes: Sizes, device: str, itemsize: int = 2) -> Way:
    """The way in which a training step of one layer is fastest.

    Args:
        tokens: rows of x.
        sizes: the factors' shapes.
        device: type of the device.
        itemsize: bytes of an entry.
    """
    order = sizes.order()
    if device in ("cpu", "meta"):
        # Products go by multiplications there, and the changed weight's gradient is half as many again as the frozen
        # layer's: measured 1.14 times the factored step at width 256, 1.2 at 640, 1.3 at 1280. Layers of 64 to 80, as
        # of the embedded models, would be faster whole (0.6 to 1.0), but their published figures hold to the bit.
        return order
    n, outputs, inputs = tokens, sizes.a1 * sizes.b1, sizes.a2 * sizes.b2
    between = sizes.a1 * sizes.b2 if order == "a first" else sizes.a2 * sizes.b1
    frozen = 2 * n * sizes.weight  # forward, and backward to x
    # Forward: two products and a sum. Backward: the sum's factor, two products each, a sum over tokens and one into x.
    factored = ACCELERATOR.seconds(
        calls=2 + 10,
        moved=itemsize * n * (8 * outputs + 6 * inputs + 6 * between),
        multiplications=frozen + 3 * n * sizes.multiplications()[order],
    )
    # Twice the changed weight (read, written), its gradient (written, copied in order, read once for each factor).
    whole = ACCELERATOR.seconds(
        calls=2 + 6, moved=itemsize * 9 * sizes.weight, multiplications=frozen + n * sizes.weight
    )
    return "whole" if whole < factored else order


def kronecker_product(x: Tensor, a: Tensor, b: Tensor, *, official: bool = False) -> Tensor:
    """(A kron B) x for every last-axis vector of `x`, without the product matrix, in the order of fewer operations.

    Args:
        x: (..., a2 * b2).
        a: (a1, a2).
        b: (b1, b2).
        official: order the output by B's rows first, as the authors' code does.

    Returns:
        (..., a1 * b1).
    """
    dtype = autocast_dtype(x)
    if dtype is not None:
        x, a, b = x.to(dtype), a.to(dtype), b.to(dtype)
    blocks = x.reshape(-1, a.shape[1], b.shape[1])  # (n, a2, b2)
    plain = is_transformed() or not torch.is_grad_enabled() or not makes_again(x)
    y = _product(blocks, a, b) if plain else _Factored.apply(blocks, a, b)
    y = y.transpose(1, 2) if official else y
    return y.reshape(*x.shape[:-1], a.shape[0] * b.shape[0])


def makes_again(x: Tensor) -> bool:
    """Whether the backward makes again what stands between the two products.

    That costs a product: 2 to 3 % of a step on a CPU, which has memory; an accelerator has the time.
    """
    return not x.is_cpu


def _product(blocks: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A X B^T for every X, (n, a2, b2) to (n, a1, b1)."""
    repeated = a.expand(blocks.shape[0], *a.shape)
    if Sizes.of(a, b).order() == "a first":
        return functional.linear(torch.bmm(repeated, blocks), b)
    return torch.bmm(repeated, functional.linear(blocks, b))


class _Factored(torch.autograd.Function):
    """`_product` that makes what stands between its two products again in the backward."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(blocks, a, b)
        return _product(blocks, a, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # gradient: (n, a1, b1)
        blocks, a, b = ctx.saved_tensors
        with without_autocast(gradient):
            backward = _backward_a_first if Sizes.of(a, b).order() == "a first" else _backward_b_first
            return backward(gradient, blocks, a, b, ctx.needs_input_grad)


def _backward_a_first(
    gradient: Tensor, blocks: Tensor, a: Tensor, b: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    repeated = a.expand(blocks.shape[0], *a.shape)
    rows = gradient.reshape(-1, b.shape[0])  # (n a1, b1)
    grad_between = (rows @ b).view(-1, a.shape[0], b.shape[1])  # (n, a1, b2)
    grad_blocks = torch.bmm(repeated.transpose(1, 2), grad_between) if needs[0] else None
    grad_a = torch.bmm(grad_between, blocks.transpose(1, 2)).sum(0) if needs[1] else None
    grad_b = rows.T @ torch.bmm(repeated, blocks).view(-1, b.shape[1]) if needs[2] else None
    return grad_blocks, grad_a, grad_b


def _backward_b_first(
    gradient: Tensor, blocks: Tensor, a: Tensor, b: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    repeated = a.expand(blocks.shape[0], *a.shape)
    grad_between = torch.bmm(repeated.transpose(1, 2), gradient)  # (n, a2, b1)
    rows = grad_between.view(-1, b.shape[0])  # (n a2, b1)
    grad_blocks = (rows @ b).view(blocks.shape) if needs[0] else None
    grad_a = torch.bmm(gradient, functional.linear(blocks, b).transpose(1, 2)).sum(0) if needs[1] else None
    grad_b = rows.T @ blocks.reshape(-1, b.shape[1]) if needs[2] else None
    return grad_blocks, grad_a, grad_b


def changed_weight(
    weight: Tensor, a: Tensor, b: Tensor, scale: float, dtype: torch.dtype, *, official: bool = False
) -> Tensor:
    """W + s (A kron B), summed in the widest dtype among them and rounded once.

    In bfloat16 an entry is off by at most 2^-8 |W'|, so an output by at most 2^-8 sum_j |W'_ij x_j|; where errors of
    either sign meet, that is about what rounding the output costs. Where W is bfloat16 too, a change of less than half
    its last digit, 2^-9 to 2^-8 of |W|, is lost, and the first steps of a training from B = 0 may make such ones. The
    gradients are those at the rounded weight and B grows in float32 all the same, so nothing stalls. Measured on three
    layers of width 128 and 256 (AdamW from B = 0), as part of how far the loss falls with the factored product: after
    50 steps 99 to 100 % at learning rates from 1e-4 to 2e-3; at 1e-5 86 to 88 % after 10 steps, 83 to 85 % after 20,
    107 % after 50.

    Args:
        weight: (a1 * b1, a2 * b2).
        a: (a1, a2).
        b: (b1, b2).
        scale: the plain factor s.
        dtype: of the result.
        official: rows ordered by B's first.
    """
    (a1, a2), (b1, b2) = a.shape, b.shape
    if official:
        grid, a, b = weight.reshape(b1, a1, a2, b2), a[None, :, :, None], b[:, None, None, :]
    else:
        grid, a, b = weight.reshape(a1, b1, a2, b2), a[:, None, :, None], b[None, :, None, :]
    if torch.is_grad_enabled() or is_transformed():
        return torch.addcmul(grid, a, b, value=scale).to(dtype).reshape(weight.shape)
    made = torch.empty(grid.shape, dtype=dtype, device=weight.device)
    return torch.addcmul(grid, a, b, value=scale, out=made).reshape(weight.shape)  # one kernel, casts included


class _Whole(torch.autograd.Function):
    """x (W + s (A kron B))^T + bias with gradients to x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, official: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale, ctx.official = scale, official
        return functional.linear(x, changed_weight(weight, a, b, scale, x.dtype, official=official), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # gradient: (n, out)
        x, weight, a, b = ctx.saved_tensors
        needs_x, _, _, needs_a, needs_b, _, _ = ctx.needs_input_grad
        grad_x = grad_a = grad_b = None
        with without_autocast(gradient):
            if needs_x:
                grad_x = gradient @ changed_weight(weight, a, b, ctx.scale, gradient.dtype, official=ctx.official)
            if needs_a or needs_b:
                # As large as the weight, so it stays in the products' dtype and the factors come to it.
                grid = _grid(gradient.T @ x, a, b, ctx.official)  # (a1 a2, b1 b2)
                flat_a, flat_b = a.reshape(-1).to(grid.dtype), b.reshape(-1).to(grid.dtype)
                grad_a = torch.addmv(flat_a, grid, flat_b, beta=0, alpha=ctx.scale).view(a.shape).to(a.dtype)
                grad_b = torch.addmv(flat_b, grid.T, flat_a, beta=0, alpha=ctx.scale).view(b.shape).to(b.dtype)
        return grad_x, None, None, grad_a, grad_b, None, None


def _grid(weight: Tensor, a: Tensor, b: Tensor, official: bool) -> Tensor:
    """A matrix of the weight's shape, rearranged so that A kron B is the outer product of A's and B's entries."""
    (a1, a2), (b1, b2) = a.shape, b.shape
    blocks = weight.reshape(b1, a1, a2, b2).transpose(0, 1) if official else weight.reshape(a1, b1, a2, b2)
    return blocks.permute(0, 2, 1, 3).reshape(a1 * a2, b1 * b2)


def kronecker_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, *, official: bool = False
) -> Tensor:
    """A frozen linear layer with the weight W + s (A kron B), in one product.

    Args:
        x: (..., a2 * b2).
        weight: (a1 * b1, a2 * b2), frozen.
        bias: (a1 * b1,), frozen.
        a: (a1, a2).
        b: (b1, b2).
        scale: the plain factor s.
        official: order the output by B's rows first.

    Returns:
        (..., a1 * b1), in the dtype of `x`.
    """
    rows = x.reshape(-1, x.shape[-1])
    bias = None if bias is None else bias.to(x.dtype)
    if torch.is_grad_enabled() and not is_transformed():
        y = _Whole.apply(rows, weight, bias, a, b, scale, official)
    else:
        y = functional.linear(rows, changed_weight(weight, a, b, scale, x.dtype, official=official), bias)
    return y.reshape(*x.shape[:-1], weight.shape[0])
