"""Training single entries of the host's weight: their values are parameters of their own, in float32.

They are written into the weight whenever they changed; `product` is the host's forward, with gradients to the values
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerConfig
from suite.adapters.carriers.selected import Selected
from suite.errors import InputError


class _Mark:
    """Which tensor was written, at which version. A copy marks nothing: copies of tensors start counting anew."""

    def __init__(self, tensor: Tensor | None = None, version: int = -1) -> None:
        self.tensor, self.version = tensor, version

    def __deepcopy__(self, memo: dict[int, Any]) -> _Mark:
        return _Mark()

    def holds(self, tensor: Tensor) -> bool:
        """Whether `tensor` is unchanged since."""
        return self.tensor is not None and self.tensor is tensor and self.version == tensor._version


class SelectedEntries(Selected):
    """Owns the values of entries of the host's weight, which a method states by `create`, `entries` and `product`."""

    def create(self, adapter: str, config: Any) -> dict[str, Tensor]:
        """The values of a new adapter, and where they belong."""
        raise TypeError(f"{type(self).__name__} must define create")

    def entries(self, adapter: str) -> tuple[Tensor, Tensor]:
        """Where the values belong, as integers that differ between entries, and what is to stand there."""
        raise TypeError(f"{type(self).__name__} must define entries")

    def read(self, places: Tensor) -> Tensor:
        """A copy of the host's entries at the given places."""
        raise TypeError(f"{type(self).__name__} must define read")

    def write(self, places: Tensor, values: Tensor) -> None:
        """Put values at the given places of the host's weight."""
        raise TypeError(f"{type(self).__name__} must define write")

    def product(self, x: Tensor, adapters: Sequence[str]) -> Tensor:
        """The host's forward, with gradients to the values of the active adapters."""
        raise TypeError(f"{type(self).__name__} must define product")

    def install(self) -> None:
        super().install()
        self._originals: dict[str, tuple[Tensor, Tensor]] = {}
        self._written: dict[str, _Mark] = {}
        self._hooks.append(self.host.register_state_dict_pre_hook(self._before_saving))
        self.host.forward = self._host_forward

    def restore(self) -> None:
        self._switch([])

    def uninstall(self) -> None:
        super().uninstall()
        del self.host.forward

    def bake(self) -> None:
        """Let the values that stand in the host stay there for good."""
        self.refresh()
        self._originals.clear()

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        self.settings[adapter_name] = config
        self.store(adapter_name, self.create(adapter_name, config))
        if config.init_weights:
            values = self.tensor(self.parameter_names[0], adapter_name)
            self._keep(adapter_name)
            self._written[adapter_name] = _Mark(values, values._version)
        self.finish_update(adapter_name, config)

    def delete_adapter(self, adapter_name: str) -> None:
        if adapter_name in self._originals:
            self._switch([name for name in self._originals if name != adapter_name])
        super().delete_adapter(adapter_name)

    def sync(self) -> None:
        self._switch(self.standing())

    def _switch(self, adapters: Sequence[str]) -> None:
        """Make the entries of exactly these adapters stand in the host."""
        for adapter in [name for name in self._originals if name not in adapters]:
            self.write(*self._originals.pop(adapter))
            self._written.pop(adapter, None)
        for adapter in adapters:
            if adapter not in self._originals:
                self._check_disjoint(adapter, adapters)
                self._keep(adapter)
        self.refresh()

    def _keep(self, adapter: str) -> None:
        """Remember what stands at the adapter's places before its values go there."""
        places = self.entries(adapter)[0]
        self._originals[adapter] = places, self.read(places)

    def _check_disjoint(self, adapter: str, adapters: Sequence[str]) -> None:
        mine = set(self.entries(adapter)[0].tolist())
        for other in adapters:
            if other != adapter and other in self._originals and mine & set(self.entries(other)[0].tolist()):
                raise InputError(f"{self.target}: {adapter!r} and {other!r} select the same entries; activate one")

    def refresh(self) -> None:
        """Write values that changed since they were last written. Cheap when none did."""
        for adapter in [*self._originals]:
            values = self.tensor(self.parameter_names[0], adapter)
            if values.is_meta:
                continue
            places, wanted = self.entries(adapter)
            self._follow(adapter, places)
            if self._written.get(adapter, _Mark()).holds(values):
                continue
            self.write(places, wanted)
            self._written[adapter] = _Mark(values, values._version)

    def _follow(self, adapter: str, places: Tensor) -> None:
        """Take over other places, which a loader may have put here without a word."""
        known, values = self._originals[adapter]
        if known is places:
            return
        if known.shape == places.shape and torch.equal(known, places):
            self._originals[adapter] = places, values
            return
        self.write(known, values)
        self._keep(adapter)
        self._written.pop(adapter, None)

    def _before_saving(self, _host: nn.Module, _prefix: str, _keep_vars: bool) -> None:
        """What an optimiser changed since the last forward stands in the values alone; files want it in the weight."""
        self.refresh()

    def _host_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        active = [] if self.disable_adapters else self.present()
        if not active:
            return type(self.host).forward(self.host, x, *args, **kwargs)
        if not torch.compiler.is_compiling():
            self.refresh()
        return self.product(x, active)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # Other indices may come in: what stands at the present ones goes back first.
        self._switch([])
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        self._originals = {
            name: (self._moved(fn, places), self._moved(fn, kept)) for name, (places, kept) in self._originals.items()
        }
        self._written.clear()
        return result
