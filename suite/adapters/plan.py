"""Choices that a method makes from data, before it is attached: which columns, heads or layers to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from suite.adapters.naming import suggest
from suite.adapters.registry import method_info
from suite.errors import InputError

Planner = Callable[..., dict[str, Any]]
_PLANNERS: dict[str, Planner] = {}


def planner(method: str) -> Callable[[Planner], Planner]:
    """Register a function as what chooses for `method`: `(model, batches, loss=..., **options) -> settings`."""

    def register(function: Planner) -> Planner:
        _PLANNERS[method] = function
        return function

    return register


def plan(
    method: str,
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    **options: Any,
) -> dict[str, Any]:
    """The settings that a method chooses from data; pass them to `attach`.

    Args:
        method: a method that plans.
        model: the bare base model; left as it is.
        batches: what `loss` takes; a few are enough.
        loss: `loss(model, batch)`, a scalar.
        options: the planner's own.

    Raises:
        InputError: the method does not plan, or there are no batches, or a gradient is not finite.
    """
    method_info(method)
    if method not in _PLANNERS:
        raise InputError(f"{method} chooses nothing from data{suggest(method, _PLANNERS)} ({', '.join(_PLANNERS)} do)")
    return _PLANNERS[method](model, batches, loss=loss, **options)


def mean_gradients(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    parameters: dict[str, nn.Parameter],
) -> dict[str, Tensor]:
    """Gradients of named parameters, averaged over batches; see `summed_gradients`."""
    batches = [*batches]
    sums = summed_gradients(model, batches, loss, parameters)
    return {name: total / len(batches) for name, total in sums.items()}


def summed_gradients(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    parameters: dict[str, nn.Parameter],
    *,
    squared: bool = False,
) -> dict[str, Tensor]:
    """Gradients of named parameters, or their squares, added over batches. Flags and gradients are restored.

    Raises:
        InputError: no batch, or a gradient with NaN or Inf.
    """
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    chosen = set(map(id, parameters.values()))
    sums: dict[str, Tensor] = {}
    try:
        for parameter, _, _ in flags:
            parameter.requires_grad_(id(parameter) in chosen)
            parameter.grad = None
        for number, batch in enumerate(batches):
            loss(model, batch).backward()
            for name, parameter in parameters.items():
                gradient = parameter.grad
                if gradient is None or not gradient.isfinite().all():
                    fault = "missing" if gradient is None else "not finite"
                    raise InputError(f"planning: the gradient of {name} is {fault} in batch {number}")
                found = gradient.square() if squared else gradient
                sums[name] = sums[name] + found if name in sums else found
                parameter.grad = None
        if not sums:
            raise InputError("planning: there are no batches")
    finally:
        for parameter, flag, gradient in flags:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
    return sums
