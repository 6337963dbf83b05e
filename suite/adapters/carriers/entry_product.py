"""Gradients to entries of a weight in which their values stand already.

A linear layer makes them alone: that of the entry in row i and column j is the sum over tokens t of g[t, i] x[t, j],
two gathered rows and a product. With n entries that is n numbers a token; the weight's whole gradient is out x in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Numbers gathered at a time: as many as a core's cache holds. All at once they cost up to five times as much.
CHUNK = 2**17
# What a gathered number costs, in multiplications of the product that makes the whole gradient (one thread of a CPU:
# 45 to 80, more where a layer has few entries, whose transposes then count).
GATHERED = 64


def is_cheaper(entries: int, weight: Tensor) -> bool:
    """Whether gathering the gradients of so many entries is cheaper than making the weight's."""
    return entries * GATHERED < weight.numel()


def entry_gradients(gradient: Tensor, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The gradients of single entries of a linear layer's weight.

    Args:
        gradient: of the output, (tokens, out). x: the input, (tokens, in).
        rows, columns: of the entries, (n,) each.

    Returns:
        (n,), in float32.
    """
    outer, inner = gradient.T.contiguous(), x.T.contiguous()  # (out, tokens), (in, tokens)
    step = max(1, CHUNK // max(1, len(x)))
    parts = [
        (outer[rows[start : start + step]] * inner[columns[start : start + step]]).sum(1, dtype=torch.float32)
        for start in range(0, len(rows), step)
    ]
    return torch.cat(parts) if parts else gradient.new_zeros(0, dtype=torch.float32)


class EntryProduct(torch.autograd.Function):
    """F.linear with a weight in which values stand already; `groups` are rows, columns and values, three by three."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *groups: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, *(tensor for place, tensor in enumerate(groups) if place % 3 < 2))
        ctx.dtypes = [values.dtype for values in groups[2::3]]
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, weight, *places = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])  # (tokens, out)
        grad_x = gradient @ weight.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        grad_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        inputs = x.reshape(-1, x.shape[-1]).to(flat.dtype)
        groups: list[Any] = []
        for rows, columns, dtype in zip(places[0::2], places[1::2], ctx.dtypes, strict=True):
            groups += [None, None, entry_gradients(flat, inputs, rows, columns).to(dtype)]
        return grad_x, None, grad_bias, *groups


class Link(torch.autograd.Function):
    """A weight in which values stand already, with the gradient that they have there."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, index: Any, values: Tensor) -> Tensor:
        ctx.index, ctx.dtype = index, values.dtype
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor]:
        onwards = gradient if ctx.needs_input_grad[0] else None
        return onwards, None, gradient[ctx.index].to(ctx.dtype)
