"""SPT's allocation: where a budget goes, by the sensitivity of every number.

He et al., Sensitivity-Aware Visual Parameter-Efficient Fine-Tuning, arXiv 2303.08566, sections 3.1 and 3.2. The tau
numbers of largest s = sum over batches of g^2 over all tensors are taken; then

    a vector (norm, bias):  trains whole, if it has size / beta of them or more
    a matrix (out, in):     gets a low-rank module of c numbers, if it has c / alpha of them or more; else these train

for tau = ceil(0.02 j 1e6), j = 1 .. 79, of which the one nearest the budget is kept. A fused qkv counts as one matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite.adapters.budget import numbers
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import has_plain_weight
from suite.adapters.methods.selective.sift import joined
from suite.adapters.methods.selective.spt import Spt
from suite.adapters.naming import matches
from suite.adapters.plan import planner, summed_gradients

SKIPPED = ("head", "cls_token", "patch_embed", "pos_embed")
COSTS: dict[str, Callable[[int, int, int], int]] = {
    "lora": lambda out, size, r: r * (size + out),
    # As the authors' code counts it, with `out` twice.
    "parallel_adapter": lambda out, size, r: 2 * out * r + r + out,
}


@dataclass(frozen=True)
class Allocation:
    """Where a budget goes.

    Attributes:
        matrices: that get a module. vectors: that train whole.
        loose: flat places of the single numbers, by tensor.
        sparse, structured: how many numbers that is; vectors are among the structured ones.
    """

    matrices: tuple[str, ...]
    vectors: tuple[str, ...]
    loose: Mapping[str, Tensor]
    sparse: int
    structured: int


def split(
    sensitivity: Mapping[str, Tensor],
    chosen: Mapping[str, Tensor],
    cost: Callable[[int, int], int],
    alpha: float,
    beta: float,
) -> Allocation:
    """Who trains how, if these numbers (masks by tensor) are the most sensitive ones."""
    matrices: list[str] = []
    vectors: list[str] = []
    loose, structured = {}, 0
    for name, mask in chosen.items():
        count, tensor = int(mask.sum()), sensitivity[name]
        if tensor.dim() == 1:
            whole, price = count >= tensor.numel() / beta, tensor.numel()
        else:
            price = cost(tensor.shape[0], tensor[0].numel())
            whole = count >= price / alpha
        if whole:
            (vectors if tensor.dim() == 1 else matrices).append(name)
            structured += price
        else:
            loose[name] = mask.flatten().nonzero()[:, 0]
    return Allocation(tuple(matrices), tuple(vectors), loose, sum(map(len, loose.values())), structured)


def allocate(
    sensitivity: Mapping[str, Tensor],
    budgets: Sequence[float],
    cost: Callable[[int, int], int],
    *,
    alpha: float = 10.0,
    beta: float = 5.0,
    fixed: int = 0,
    unit: float = 1e6,
) -> list[Allocation]:
    """For every budget the allocation whose size comes nearest; of equally near ones the larger tau.

    Args:
        sensitivity: of every tensor. cost: numbers of a module for a matrix of so many outputs and inputs.
        budgets: in numbers. fixed: numbers that train besides. unit: tau runs from 0.02 to 1.58 of it.
    """
    flat = torch.cat([tensor.flatten() for tensor in sensitivity.values()])
    ordered = flat.sort(descending=True).values
    found: list[tuple[float, Allocation] | None] = [None] * len(budgets)
    for step in range(1, 80):
        tau = math.ceil(0.02 * step * unit)
        if tau > len(ordered):
            break
        made = split(sensitivity, {n: t >= ordered[tau - 1] for n, t in sensitivity.items()}, cost, alpha, beta)
        for place, budget in enumerate(budgets):
            away = abs(made.sparse + made.structured + fixed - budget)
            best = found[place]
            if best is None or away <= best[0]:
                found[place] = away, made
    return [made for best in found if best is not None for made in (best[1],)]


@planner("spt")
def by_sensitivity(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    budget: int | str = "0.4M",
    module: Literal["lora", "parallel_adapter"] = "lora",
    r: int = 8,
    skip: Sequence[str] = SKIPPED,
    alpha: float = 10.0,
    beta: float = 5.0,
) -> dict[str, Any]:
    """`methods` and `train` for `attach`; head and class token train beside them, if `train=` names them."""
    held = {name: child for name, child in model.named_modules() if has_plain_weight(child)}
    parameters = {
        f"{name}.{own}": tensor
        for name, child in held.items()
        for own, tensor in child.named_parameters(recurse=False)
        if not any(matches(f"{name}.{own}", pattern) for pattern in skip)
    }
    sensitivity = summed_gradients(model, batches, loss, parameters, squared=True)
    total = sum(tensor.numel() for tensor in parameters.values())
    unit = min(1e6, total / 1.6)
    count = numbers(budget, total)
    [found] = allocate(
        sensitivity, [count], lambda out, size: COSTS[module](out, size, r), alpha=alpha, beta=beta, unit=unit
    )
    layers: dict[str, dict[str, Tensor]] = {}
    for name, places in found.loose.items():
        if len(places):
            layers.setdefault(name.rpartition(".")[0], {})[name.rpartition(".")[2]] = places
    places = {name: _joined(own, held[name]) for name, own in layers.items()}
    methods = structured(module, r, [name.rpartition(".")[0] for name in found.matrices])
    if places:
        counts = {name: len(own) for name, own in places.items()}
        methods.append({"method": "spt", "targets": exactly(places), "counts": counts, "places": places})
    return {"methods": methods, "train": [*found.vectors]}


def _joined(places: Mapping[str, Tensor], module: nn.Module) -> Tensor:
    tensors = Spt.tensors_of(module)
    return joined({name: places.get(name, torch.zeros(0, dtype=torch.int64)) for name in tensors}, tensors)


def structured(module: str, r: int, targets: list[str]) -> list[dict[str, Any]]:
    """The structured part: LoRA without a factor, or a GELU adapter with biases, on what goes into the matrix."""
    if not targets:
        return []
    if module == "lora":
        return [{"method": "lora", "targets": exactly(targets), "r": r, "lora_alpha": r, "lora_dropout": 0.1}]
    settings = {"bottleneck_size": r, "non_linearity": "gelu", "init": "mam_adapter", "biases": True, "dropout": 0.1}
    return [{"method": "parallel_adapter", "targets": exactly(targets), **settings}]
