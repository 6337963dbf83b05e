"""The base's own biases that train with an adapter (`bias=` of peft's configs), exchanged like any selected tensor.

peft trains them in place and leaves them so: the base would keep one adapter's biases while another is on, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from suite.adapters.handle import Handle, adapter_layers, adapters_on, base_of, handle_of, public_name


@dataclass
class Biases:
    """One adapter's biases.

    Attributes:
        other: by name in the bare base, what is not in the model now: the originals while the adapter is on, its own
            values while it is off.
        on: whether the adapter's values are in the model.
    """

    other: dict[str, Tensor]
    on: bool = True


def take(model: nn.Module, adapter: str, config: PeftConfig) -> None:
    """Keep the originals of what the adapter's `bias` setting trains."""
    kind = getattr(config, "bias", "none")
    if not isinstance(kind, str) or kind == "none":
        return
    handle, base = handle_of(model), base_of(model)
    if kind == "all":
        own = {id(tensor) for _, layer in adapter_layers(base) for tensor in _own(layer)}
        own |= {id(p) for m in base.modules() if isinstance(m, AuxiliaryTrainingWrapper) for p in m.parameters()}
        found = {
            name: tensor
            for name, tensor in base.named_parameters()
            if name.rpartition(".")[2] == "bias" and id(tensor) not in own
        }
    else:
        names = {id(module): name for name, module in base.named_modules()}
        hosts = [layer.get_base_layer() for _, layer in adapter_layers(base) if adapter in adapters_on(layer)]
        biased = [host for host in hosts if getattr(host, "bias", None) is not None]
        found = {f"{names[id(host)]}.bias".lstrip("."): host.bias for host in biased}
    kept = {public_name(base, name): tensor.detach().clone() for name, tensor in found.items()}
    handle.biases[adapter] = Biases(kept)


def _own(layer: BaseTunerLayer) -> list[Tensor]:
    """The parameters of a tuner layer that are not of what it is around."""
    return [tensor for name, tensor in layer.named_parameters() if not name.startswith("base_layer.")]


def parameters(model: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    """An adapter's biases as they stand in the model, by their names there."""
    taken = handle_of(model).biases.get(adapter)
    if taken is None:
        return {}
    base = base_of(model)
    return {name: tensor for name, tensor in base.named_parameters() if public_name(base, name) in taken.other}


def foreign_biases(model: nn.Module, adapter: str) -> set[str]:
    """Names, in the bare base, of the biases that are no part of an adapter.

    peft files those of every layer that any adapter is on for an adapter that trains its own layers' alone.
    """
    taken = handle_of(model).biases.get(adapter)
    if taken is None:
        return set()
    base = base_of(model)
    names = {public_name(base, name) for name, _ in base.named_parameters()}
    return {name for name in names - taken.other.keys() if name.rpartition(".")[2] == "bias"}


def switch(model: nn.Module, wanted: list[str]) -> None:
    """Put the biases of the adapters `wanted` into the model, and the originals of all others back."""
    for adapter, taken in handle_of(model).biases.items():  # one at most: peft refuses a second on a model
        if taken.on != (adapter in wanted):
            _exchange(model, adapter, taken)


def _exchange(model: nn.Module, adapter: str, taken: Biases) -> None:
    base = base_of(model)
    for name, tensor in parameters(model, adapter).items():
        public = public_name(base, name)
        here = tensor.data
        # Rebound, not copied over: whoever holds the old values (a state that is being saved) keeps them.
        tensor.data = taken.other[public].to(here.device, here.dtype)
        taken.other[public] = here
    taken.on = not taken.on


@contextmanager
def only(model: nn.Module, adapter: str) -> Iterator[None]:
    """One adapter's biases are in the model inside the block, whichever are on around it."""
    handle: Handle = handle_of(model)
    around = [name for name, taken in handle.biases.items() if taken.on]
    if adapter in handle.biases:
        switch(model, [adapter])
    try:
        yield
    finally:
        switch(model, around)
