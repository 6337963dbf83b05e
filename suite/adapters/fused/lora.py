"""LoRA as one product: y = x W^T + bias + s (x A^T) B^T, for peft's own layers.

Hu et al., LoRA, arXiv 2106.09685, section 4.1. peft computes the same in five steps forward and as many backward, of
which the scaling, the sum and the casts pass over tensors of the output's size. Here the low-rank part is added by the
product that makes it, in place, its scale is that product's factor, and the backward keeps x and x A^T only.

peft's layers stay what they are: a fused layer is an instance of peft's class, with its name, parameters, merging and
files. Whatever the product does not cover (dropout in training, DoRA and the other variants, mixed batches, biases of
LoRA's own, hooks on its parts, other dtypes) takes peft's forward, and so do predictions on the CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.fused.frozen import (
    autocast_dtype,
    is_bare,
    is_frozen_linear,
    is_plain_linear,
    is_plain_tensor,
    is_raised,
    is_transformed,
    multiplies,
    without_autocast,
)


class LowRank(NamedTuple):
    """What the active adapters of a layer add: s B A."""

    a: Tensor  # (r, in)
    b: Tensor  # (out, r)
    scale: float

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.a.to(dtype), self.b.to(dtype), self.scale)


class LoraProduct(torch.autograd.Function):
    """x W^T + bias + s (x A^T) B^T with gradients to x, A and B; W and the bias are frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        low = functional.linear(x, a)  # (n, r)
        y = functional.linear(x, weight.to(x.dtype), bias)  # (n, out)
        y.addmm_(low, b.T, alpha=scale)
        trains = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
        # The weight is kept as it is stored: a cast of it for autocast would be kept beside it, layer by layer.
        ctx.save_for_backward(x if trains else None, weight, a, b, low if trains else None)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # gradient: (n, out)
        x, weight, a, b, low = ctx.saved_tensors
        needs_x, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        if torch.is_grad_enabled() and x is not None:
            low = functional.linear(x, a)  # for a second derivative, which does not reach a kept intermediate
        grad_x = grad_a = grad_b = None
        with without_autocast(gradient):
            if needs_x or needs_a:
                grad_low = functional.linear(gradient, b.T.contiguous())  # (n, r), without the scale
                if needs_a:
                    grad_a = torch.addmm(a, grad_low.T, x, beta=0, alpha=ctx.scale)
                if needs_x:
                    grad_x = (gradient @ weight.to(gradient.dtype)).addmm_(grad_low, a, alpha=ctx.scale)
            if needs_b:  # transposed: on a CPU six times faster than (out, n) by (n, r)
                grad_b = torch.addmm(b.T, low.T, gradient, beta=0, alpha=ctx.scale).T
        return grad_x, None, None, grad_a, grad_b, None


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, term: LowRank) -> Tensor:
    """A frozen linear layer with LoRA.

    Args:
        x: (..., in).
        weight: (out, in), frozen; cast to the dtype of `x` where it differs.
        bias: (out,), frozen.
        term: the low-rank change, in the dtype of `x`.

    Returns:
        (..., out).
    """
    rows = x.reshape(-1, x.shape[-1])
    bias = None if bias is None else bias.to(x.dtype)
    if is_transformed():
        y = add_low_rank(functional.linear(rows, weight.to(x.dtype), bias), rows, term)
    elif torch.is_grad_enabled():
        y = LoraProduct.apply(rows, weight, bias, *term)
    else:
        y = functional.linear(rows, weight.to(x.dtype), bias)
        y.addmm_(functional.linear(rows, term.a), term.b.T, alpha=term.scale)
    return y.reshape(*x.shape[:-1], weight.shape[0])


def add_low_rank(y: Tensor, x: Tensor, term: LowRank) -> Tensor:
    """y + s (x A^T) B^T for an output that a layer computed by itself, in plain operations; y is left as it is.

    Args:
        y: (..., out).
        x: (..., in), in the dtype of `term`.
        term: the low-rank change.
    """
    low = functional.linear(x.reshape(-1, x.shape[-1]), term.a)  # (n, r)
    if y.dtype != low.dtype:
        return (y + term.scale * functional.linear(low, term.b).reshape(y.shape)).to(y.dtype)
    return torch.addmm(y.reshape(-1, y.shape[-1]), low, term.b.T, alpha=term.scale).reshape(y.shape)


class FusedForward:
    """The forward of peft's LoRA layers over linear ones, where the product covers what is asked."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        term = None
        if not (args or kwargs or self.disable_adapters or self.merged) and is_plain_tensor(x):
            # On the CPU predictions keep peft's order of operations, so that they are peft's to the bit. The base tells
            # what mode its model is in: a layer that peft puts into a model at rest is in training mode itself.
            term = low_rank_term(self, x) if self.get_base_layer().training or not x.is_cpu else None
        if term is None:
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        base, dtype = self.base_layer, term.a.dtype
        if is_frozen_linear(base) and multiplies(x, base.weight):
            return lora_linear(x.to(dtype), base.weight, base.bias, term)
        return add_low_rank(base(x), x.to(dtype), term)


class Linear(FusedForward, lora.Linear):
    """peft's `lora.Linear`."""


def low_rank_term(layer: Any, x: Tensor) -> LowRank | None:
    """What the active adapters of one of peft's layers add to the product with `x`; None where peft must do it."""
    dtype = autocast_dtype(x) or x.dtype
    terms: list[LowRank] = []
    for name in layer.active_adapters:
        if name not in layer.lora_A:
            continue
        a, b, scale = layer.lora_A[name], layer.lora_B[name], layer.scaling[name]
        if name in layer.lora_variant or not isinstance(scale, (int, float)) or _drops(layer.lora_dropout[name]):
            return None
        if not (is_plain_linear(a) and is_plain_linear(b)) or a.bias is not None or b.bias is not None:
            return None
        if not all(_fits(layer, x, weight) for weight in (a.weight, b.weight)):
            return None
        terms.append(LowRank(a.weight, b.weight, scale).to(dtype))
    if len(terms) < 2:
        return terms[0] if terms else None
    # Several adapters are one of the sum of their ranks.
    return LowRank(torch.cat([term.a for term in terms]), torch.cat([term.b * term.scale for term in terms], 1), 1.0)


def _drops(dropout: nn.Module) -> bool:
    """Whether a layer's dropout does something: it drops, or is watched."""
    if type(dropout) is nn.Dropout and dropout.training and dropout.p > 0:
        return True
    return type(dropout) not in (nn.Dropout, nn.Identity) or not is_bare(dropout)


def _fits(layer: Any, x: Tensor, weight: Tensor) -> bool:
    """Whether the product with an adapter's weight in the dtype of `x` is peft's, to rounding."""
    return multiplies(x, weight) or (layer.cast_input_dtype_enabled and is_raised(x, weight))
