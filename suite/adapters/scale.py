"""How strongly adapters act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.handle import ATTRIBUTE, Handle, adapter_layers, adapters_on
from suite.adapters.registry import MethodInfo, method_of
from suite.errors import InputError


def scale(model: nn.Module, factor: float, name: str | None = None) -> None:
    """Multiply what an adapter does by `factor`: 0 is the base, 1 as trained. Saving is not changed by it.

    Args:
        model: a model with adapters, ours or peft's.
        factor: of what it does as trained, whatever was set before.
        name: which adapter; all of them by default.

    Raises:
        InputError: there is no such adapter, it is merged, or its method acts wholly or not at all.
    """
    chosen = [
        (layer, adapter)
        for _, layer in adapter_layers(model)
        for adapter in sorted(adapters_on(layer))
        if name is None or adapter in _adapters_of(model, name)
    ]
    if not chosen:
        raise InputError(f"the model has no adapter{f' called {name!r}' if name else ''}; attach or load one")
    for layer, adapter in chosen:
        if adapter in layer.merged_adapters:
            raise InputError(f"adapter {adapter!r} is merged into the weights: call unmerge before scaling it")
        _check(layer, method_of(layer), factor)
    for layer, adapter in chosen:
        if isinstance(layer, TunerLayer):
            layer.set_strength(adapter, factor)
        elif hasattr(layer, "set_scale"):
            layer.set_scale(adapter, factor)


def _adapters_of(model: nn.Module, name: str) -> Iterable[str]:
    """The names inside the layers of the attachment `name`; the name itself where it is one of those."""
    handle: Handle | None = getattr(model, ATTRIBUTE, None)
    if handle is None or name not in handle.attachments:
        return [name]
    return [member.adapter for member in handle.attachments[name].members]


def _check(layer: Any, info: MethodInfo | None, factor: float) -> None:
    if factor == 1 or (info is not None and info.scalable):
        return
    if isinstance(layer, TunerLayer) and factor == 0:
        return
    method = info.name if info is not None else type(layer).__name__
    raise InputError(f"strength {factor:g}: {method} acts wholly or not at all; use 1, or activate another adapter")
