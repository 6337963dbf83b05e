"""The product with a weight that is a low-rank and a sparse matrix, and layers that have no other weight.

Han et al., SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining, arXiv 2406.02214,
section 3.2:

    y = x (W + s B A + S)^T,   S[index] = values, 0 elsewhere       dL/dvalues = (g^T x)[index]

The sum is made for the product, forward and backward, and never kept. `SparseLowRankLinear` has no W: models are
trained from scratch with it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import InputError
from suite.files import write_text


class SparseLowRankProduct(torch.autograd.Function):
    """x (W + s B A + S)^T with gradients to x, A, B and the values; W is frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, a: Tensor, b: Tensor, values: Tensor, index: Tensor, scale: float
    ) -> Tensor:  # x: (n, in), weight: (out, in), a: (r, in), b: (out, r), values and index: (k,)
        ctx.save_for_backward(x, weight, a, b, values, index)
        ctx.scale = scale
        return functional.linear(x, dense(weight, a, b, values, index, scale))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # (n, out)
        x, weight, a, b, values, index = ctx.saved_tensors
        needs_x, _, needs_a, needs_b, needs_values, *_ = ctx.needs_input_grad
        grad_x = gradient @ dense(weight, a, b, values, index, ctx.scale) if needs_x else None
        grad_a = grad_b = grad_values = None
        if needs_a or needs_b or needs_values:
            whole = gradient.T @ x  # (out, in)
            grad_a = ctx.scale * (b.T @ whole) if needs_a else None
            grad_b = ctx.scale * (whole @ a.T) if needs_b else None
            grad_values = whole.flatten()[index] if needs_values else None
        return grad_x, None, grad_a, grad_b, grad_values, None, None


def dense(weight: Tensor | None, a: Tensor, b: Tensor, values: Tensor, index: Tensor, scale: float) -> Tensor:
    """W + s B A + S: (out, in); without a W, s B A + S."""
    whole = scale * (b @ a) if weight is None else torch.addmm(weight, b, a, alpha=scale)
    return whole.flatten().index_add(0, index, values).view_as(whole)


def sparse_low_rank_linear(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    parts: tuple[Tensor, Tensor, Tensor],
    index: Tensor,
    scale: float,
) -> Tensor:
    """The product for an input of any shape.

    Args:
        x: (..., in).
        weight: (out, in), frozen, or None.
        bias: (out,).
        parts: A (r, in), B (out, r) and the values (k,).
        index: where the values stand in the flattened weight, (k,).
        scale: s.

    Returns:
        (..., out).
    """
    a, b, values = (part.to(x.dtype) for part in parts)
    weight = None if weight is None else weight.to(x.dtype)
    y = SparseLowRankProduct.apply(x.reshape(-1, x.shape[-1]), weight, a, b, values, index, scale)
    y = y.reshape(*x.shape[:-1], len(b))
    return y if bias is None else y + bias.to(y.dtype)


def random_index(size: int, share: float, device: torch.device) -> Tensor:
    """A share of the places of a flattened weight of `size` entries, in order: (k,)."""
    count = int(share * size)
    if device.type == "meta":
        return torch.empty(count, dtype=torch.int64, device=device)
    return torch.randperm(size)[:count].sort().values


class SparseLowRankLinear(nn.Module):
    """A linear layer whose weight is s B A + S and nothing else, with the authors' names.

    Args:
        in_features: of x.
        out_features: of y.
        r: rank of B A.
        alpha: s is alpha / r.
        sp_ratio: share of entries in S.
        bias: whether it has one.
    """

    def __init__(
        self, in_features: int, out_features: int, r: int, alpha: float, sp_ratio: float, bias: bool = False
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, alpha / r
        self.lora_A = nn.Parameter(torch.empty(r, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        index = random_index(in_features * out_features, sp_ratio, self.lora_A.device)
        bound = 1 / math.sqrt(in_features)
        self.sparse_value = nn.Parameter(torch.empty(len(index)).uniform_(-bound, bound))
        self.register_buffer("sparse_index", index)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        parts = self.lora_A, self.lora_B, self.sparse_value
        return sparse_low_rank_linear(x, None, self.bias, parts, self.sparse_index, self.scale)


def replace_linears(model: nn.Module, targets: list[str], *, r: int, alpha: float, sp_ratio: float) -> nn.Module:
    """Put sparse plus low-rank layers in the place of a model's linear layers, for training it from scratch.

    Args:
        model: changed in place; embeddings, norms and what is not named stay.
        targets: endings of module names.
        r: rank, alpha: s is alpha / r, sp_ratio: share of entries in S.

    Raises:
        InputError: a target matches no linear layer.
    """
    found: set[str] = set()
    for name, module in [*model.named_modules()]:
        ending = name.rpartition(".")[2]
        if isinstance(module, nn.Linear) and ending in targets:
            found.add(ending)
            parent = model.get_submodule(name.rpartition(".")[0])
            with torch.device(module.weight.device):
                layer = SparseLowRankLinear(
                    module.in_features, module.out_features, r, alpha, sp_ratio, module.bias is not None
                )
            setattr(parent, ending, layer.to(module.weight.dtype))
    if missing := [target for target in targets if target not in found]:
        raise InputError(f"sltrain: no linear layer of the model is called {', '.join(missing)}")
    return model


def write_splora_config(folder: Path, targets: list[str], *, r: int, alpha: float, sp_ratio: float) -> None:
    """The `splora_config.json` that the authors' files carry beside a model's weights."""
    settings = {"r": r, "lora_alpha": alpha, "lora_dropout": 0.0, "sp_ratio": sp_ratio, "target_modules": targets}
    write_text(folder / "splora_config.json", json.dumps(settings, indent=2) + "\n")


def read_splora_config(folder: Path) -> dict[str, Any]:
    """What `replace_linears` takes, from a folder's `splora_config.json`.

    Raises:
        InputError: there is none, or it lacks a setting.
    """
    file = folder / "splora_config.json"
    if not file.is_file():
        raise InputError(f"{folder}: there is no splora_config.json, which says what its sparse layers are")
    settings = json.loads(file.read_text(encoding="utf-8"))
    names = {"target_modules": "targets", "r": "r", "lora_alpha": "alpha", "sp_ratio": "sp_ratio"}
    if missing := [name for name in names if name not in settings]:
        raise InputError(f"{file}: {', '.join(missing)} is missing")
    return {ours: settings[theirs] for theirs, ours in names.items()}
