"""Training whole tensors of the host: the host then holds the adapter's own parameter or buffer.

Nothing is computed, and any code that reads the host's tensor sees it. It trains in the base's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn

from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.selected import Selected
from suite.adapters.carriers.weights import bias_dtype
from suite.errors import InputError


class SelectedTensors(Selected):
    """Takes the host's own parameters and buffers whose names `whole` gives."""

    def whole(self, config: Any) -> Sequence[str]:
        """Names of the host's own parameters and buffers that the adapter takes whole."""
        raise TypeError(f"{type(self).__name__} must define whole")

    def missing(self, name: str) -> Tensor:
        """What a tensor that the host lacks starts as."""
        raise InputError(f"{self.target} has no {name}")

    def install(self) -> None:
        super().install()
        self._taken: dict[str, Tensor | None] = {}
        self._hooks.append(self.host.register_forward_pre_hook(self._before_host))

    def trains(self, name: str) -> bool:
        return name in self._tensor_names()

    def bases(self, adapter: str) -> dict[str, nn.Parameter]:
        tensors = {name: self._taken.get(name, getattr(self.host, name)) for name in self._names_of(adapter)}
        return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, nn.Parameter)}

    def tie(self, adapter: str, names: list[str], others: list[str], places: list[tuple[Any, str]]) -> None:
        if others:
            raise InputError(f"{names[0]} is {others[0]} as well (tied weights): name both, and they train as one")
        first, name = places[0]
        for layer, own in places[1:]:
            layer._parameters_of(own)[adapter] = first._parameters_of(name)[adapter]
            layer.sync()

    def _names_of(self, adapter: str) -> list[str]:
        return [name for name in self._tensor_names() if adapter in getattr(self, self.prefix + name)]

    def _parameters_of(self, name: str) -> nn.ParameterDict:
        container: nn.ParameterDict = getattr(self, self.prefix + name)
        return container

    def restore(self) -> None:
        self._switch({})

    def bake(self) -> None:
        """Let the values that stand in the host stay there for good."""
        for name in [*self._taken]:
            value = self._slot(name)[name]
            if isinstance(value, nn.Parameter):
                self._slot(name)[name] = nn.Parameter(value.detach().clone(), requires_grad=False)
            del self._taken[name]

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        for name in self.whole(config):
            self._take(name, adapter_name, config)
        self.finish_update(adapter_name, config)

    def _take(self, name: str, adapter: str, config: TunerConfig) -> None:
        """Make a container for the host's tensor `name` and fill it with a copy of the original."""
        original = self._taken.get(name, getattr(self.host, name))
        is_buffer = name in self.host._buffers
        attribute = self.prefix + name
        if not hasattr(self, attribute):
            setattr(self, attribute, BufferDict(persistent=True) if is_buffer else nn.ParameterDict())
            key = "other_param_names" if is_buffer else "adapter_layer_names"
            setattr(self, key, (*getattr(self, key), attribute))
        value = self.missing(name) if original is None else original.detach().clone()
        if not config.init_weights and value.is_floating_point():
            value += 0.1 * torch.randn_like(value)
        self.set_tensor(name, adapter, value)

    def sync(self) -> None:
        adapters = self.standing()
        wanted: dict[str, str] = {}
        for name in self._tensor_names():
            owners = [adapter for adapter in adapters if adapter in getattr(self, self.prefix + name)]
            if len(owners) > 1:
                raise InputError(f"{self.target}: {name} is selected by {owners}, only one of them can be active")
            if owners:
                wanted[name] = owners[0]
        self._switch(wanted)

    def _switch(self, wanted: dict[str, str]) -> None:
        """Put the tensors of the `wanted` adapters, by name, into the host, and the originals of all others."""
        for name in [*self._taken]:
            if name not in wanted:
                self._slot(name)[name] = self._taken.pop(name)
        for name, adapter in wanted.items():
            slot, container = self._slot(name), getattr(self, self.prefix + name)
            if name not in self._taken:
                self._taken[name] = slot[name]
            original, value = self._taken[name], container[adapter]
            dtype = bias_dtype(self.host) if original is None else original.dtype
            if value.dtype != dtype and not value.is_meta:
                flag = value.requires_grad
                self.set_tensor(name, adapter, value.detach().to(dtype))
                container[adapter].requires_grad_(flag)
            slot[name] = container[adapter]

    def _slot(self, name: str) -> dict[str, Any]:
        return self.host._buffers if name in self.host._buffers else self.host._parameters

    def _before_host(self, _host: nn.Module, _args: tuple[Any, ...]) -> None:
        """Loaders that replace parameters (transformers') leave the host with the old ones."""
        if torch.compiler.is_compiling():
            return
        for name in self._taken:
            container = getattr(self, self.prefix + name)
            if not any(self._slot(name)[name] is container[adapter] for adapter in container):
                self.sync()
                return

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        for name, value in self._taken.items():
            if value is not None:
                self._taken[name] = self._moved(fn, value)
            adapter = next((a for a in self.active_adapters if a in getattr(self, self.prefix + name)), None)
            if adapter is not None:
                self._slot(name)[name] = getattr(self, self.prefix + name)[adapter]
        return result
