"""Ranks that a schedule took out of play, taken off: a file, or a model, holds the ranks that are left.

Our own methods say by `trimmed` what is left of them. AdaLoRA is peft's: a rank whose singular value in `lora_E` is 0
does nothing (Zhang et al., arXiv 2303.10512). peft writes which of the `init_r` ranks stay as `rank_pattern` of the
config, a list of booleans by `<layer>.lora_E`, and reads it when it loads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.handle import adapter_layers, adapters_on, handle_of, public_name
from suite.adapters.state import PREFIX, carrier_of
from suite.errors import InputError

_NAMES = {"lora_E": 0, "lora_A": 0, "lora_B": 1}
"""The tensors of a layer, and the dimension that counts its ranks."""


def finalize(model: nn.Module, name: str | None = None) -> None:
    """Take the ranks off an adapter that its training has masked; what it does stays the same. Training is over then.

    Args:
        model: a model with adapters.
        name: which adapter; the active one by default.

    Raises:
        InputError: there is no such adapter.
    """
    for member in handle_of(model).attachment(name).members:
        config = carrier_of(model, member).peft_config[member.adapter]
        for _, layer in adapter_layers(model):
            if isinstance(layer, TunerLayer) and member.adapter in layer.settings:
                _trim(layer, member.adapter, config)
        if member.method == "adalora":
            found = _layers(model, member.adapter)
            tensors = {
                f"{place}.{part}": getattr(layer, part)[member.adapter]
                for place, layer in found.items()
                for part in _NAMES
            }
            _, config.rank_pattern = trimmed(tensors, config)
            resize(model, member.adapter, config)


def _trim(layer: TunerLayer, adapter: str, config: Any) -> None:
    tensors, pattern = layer.trimmed(adapter)
    for field, value in pattern.items():
        setattr(config, field, {**getattr(config, field), re.escape(layer.target): value})
    if not tensors:
        return
    with torch.random.fork_rng():  # the shapes of the others are wanted, no numbers
        made = layer.create(adapter, config)
    for name, fresh in made.items():
        old: Any = layer.tensor(name, adapter)
        if name in tensors or fresh.shape != old.shape:
            layer.set_tensor(name, adapter, tensors.get(name, fresh).detach().to(old.device, old.dtype).contiguous())
            layer.tensor(name, adapter).requires_grad_(old.requires_grad)


def trimmed(state: Mapping[str, Tensor], config: Any) -> tuple[dict[str, Tensor], dict[str, list[bool]]]:
    """The tensors without masked ranks, and the `rank_pattern` that says which of `init_r` are left.

    Args:
        state: tensors by saved name. config: of the adapter, whose pattern counts where ranks were taken off before.
    """
    cut, pattern = dict(state), {}
    for key, values in state.items():
        layer, _, part = key.rpartition(".")
        if part != "lora_E":
            continue
        stay = values.detach().flatten().ne(0).tolist()
        before = (config.rank_pattern or {}).get(key.removeprefix(PREFIX), [])
        before = before if sum(before) == len(stay) else [True] * len(stay)
        left = iter(stay)
        pattern[key.removeprefix(PREFIX)] = [here and next(left) for here in before]
        for part, dim in _NAMES.items():
            cut[f"{layer}.{part}"] = _kept(state[f"{layer}.{part}"], stay, dim)
    return cut, pattern


def resize(model: nn.Module, adapter: str, config: Any, source: str = "rank_pattern") -> None:
    """Take the ranks off a model's layers that the config's `rank_pattern` says are gone.

    Raises:
        InputError: the pattern is of other ranks than the layers have.
    """
    for place, layer in _layers(model, adapter).items():
        stay = (config.rank_pattern or {}).get(f"{place}.lora_E")
        rows = len(layer.lora_E[adapter])
        if stay is None or (sum(stay) == rows and len(stay) != rows):
            continue
        if len(stay) != rows:
            raise InputError(f"{source}: rank_pattern of {place} is of {len(stay)} ranks, and the layer has {rows}")
        for part, dim in _NAMES.items():
            container = getattr(layer, part)
            old = container[adapter]
            container[adapter] = nn.Parameter(_kept(old.detach(), stay, dim), requires_grad=old.requires_grad)
        layer.r[adapter] = sum(stay)  # `ranknum` stays what it was: the change is divided by it


def _layers(model: nn.Module, adapter: str) -> dict[str, Any]:
    return {
        public_name(model, name).removeprefix(PREFIX): layer
        for name, layer in adapter_layers(model)
        if adapter in adapters_on(layer) and hasattr(layer, "lora_E")
    }


def _kept(tensor: Tensor, stay: list[bool], dim: int) -> Tensor:
    ranks = [number for number, here in enumerate(stay) if here]
    return tensor[ranks] if dim == 0 else tensor[:, ranks]
