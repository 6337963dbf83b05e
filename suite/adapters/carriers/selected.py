"""Methods that train chosen entries of what the model has, in place.

While an adapter is on, the host's own tensor holds its values; switching, disabling and detaching exchange them with
the originals, so the base comes back to the bit. Two ways, by what a method states:

- `whole`: names of the host's parameters and buffers that it takes whole. The host then holds the adapter's parameter
  itself: nothing is computed, and any code that reads the host's tensor sees it. It trains in the base's dtype.
- `create`, `entries` and `product`: values (and indices) of single entries, in float32. They are written into the
  host's weight whenever they changed; `product` is the host's forward, with gradients to the values only.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerConfig
from suite.adapters.carriers.child import ChildLayer, ChildTuner
from suite.adapters.carriers.weights import bias_dtype
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


class Selected(ChildLayer):
    """A child of its host that owns the trained values of some of the host's entries."""

    tuner_base = ChildTuner

    def whole(self, config: Any) -> Sequence[str]:
        """Names of the host's own parameters and buffers that the adapter takes whole."""
        return ()

    def create(self, adapter: str, config: Any) -> dict[str, Tensor]:
        """The values, and where they belong, of an entry-wise adapter; empty for a method that takes whole tensors."""
        return {}

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
        self._taken: dict[str, Tensor | None] = {}
        self._originals: dict[str, tuple[Tensor, Tensor]] = {}
        self._written: dict[str, _Mark] = {}
        self.register_load_state_dict_post_hook(_reload)
        self._hooks = [self.host.register_forward_pre_hook(self._before_host)]
        if self.parameter_names:
            self._hooks.append(self.host.register_state_dict_pre_hook(self._before_saving))
            self.host.forward = self._host_forward

    def uninstall(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._switch_entries([])
        self._switch_whole({})
        if self.parameter_names:
            del self.host.forward
        super().uninstall()

    def bake(self) -> None:
        """Let the values that stand in the host stay there for good."""
        self.refresh()
        self._originals.clear()
        for name in [*self._taken]:
            value = self._slot(name)[name]
            if isinstance(value, nn.Parameter):
                self._slot(name)[name] = nn.Parameter(value.detach().clone(), requires_grad=False)
            del self._taken[name]

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        self.settings[adapter_name] = config
        for name in self.whole(config):
            self._take(name, adapter_name, config)
        tensors = self.create(adapter_name, config)
        self.store(adapter_name, tensors)
        if tensors:
            values = self.tensor(self.parameter_names[0], adapter_name)
            if config.init_weights:
                self._keep(adapter_name)
                self._written[adapter_name] = _Mark(values, values._version)
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

    def missing(self, name: str) -> Tensor:
        """What a tensor that the host lacks starts as."""
        raise InputError(f"{self.target} has no {name}")

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        super().set_adapter(adapter_names, inference_mode)
        self.sync()

    def enable_adapters(self, enabled: bool) -> None:
        if not enabled and self.merged:
            self.unmerge()
        super().enable_adapters(enabled)
        self.sync()

    def delete_adapter(self, adapter_name: str) -> None:
        if adapter_name in self._originals:
            self._switch_entries([name for name in self._originals if name != adapter_name])
        super().delete_adapter(adapter_name)
        self.sync()

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Nothing moves: the values are in the base already. Marks them, after the check that `safe_merge` asks for."""
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter not in self.settings:
                continue
            for name in self._tensor_names():
                container = getattr(self, self.prefix + name)
                if safe_merge and adapter in container and not torch.isfinite(container[adapter]).all():
                    raise ValueError(f"{self.target}: NaNs detected in {name}. The adapter {adapter} is broken")
            self.merged_adapters.append(adapter)
        self.sync()

    def unmerge(self) -> None:
        """Values stay in place as long as the adapter is active."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        self.merged_adapters.clear()
        self.sync()

    def _tensor_names(self) -> list[str]:
        return [
            name.removeprefix(self.prefix)
            for name in (*self.adapter_layer_names, *self.other_param_names)
            if name != "settings"
        ]

    def sync(self) -> None:
        """Make the host hold what it should: the active adapter's values, or the originals."""
        adapters = [] if self.disable_adapters else [*dict.fromkeys((*self.merged_adapters, *self.present()))]
        wanted: dict[str, str] = {}
        for name in self._whole_names():
            owners = [adapter for adapter in adapters if adapter in getattr(self, self.prefix + name)]
            if len(owners) > 1:
                raise InputError(f"{self.target}: {name} is selected by {owners}, only one of them can be active")
            if owners:
                wanted[name] = owners[0]
        self._switch_whole(wanted)
        self._switch_entries([adapter for adapter in adapters if self.parameter_names])

    def _whole_names(self) -> list[str]:
        entry_names = {*self.parameter_names, *self.buffer_names}
        return [name for name in self._tensor_names() if name not in entry_names]

    def _switch_whole(self, wanted: dict[str, str]) -> None:
        host = self.host
        for name in [*self._taken]:
            if name not in wanted:
                self._slot(name)[name] = self._taken.pop(name)
        for name, adapter in wanted.items():
            slot, container = self._slot(name), getattr(self, self.prefix + name)
            if name not in self._taken:
                self._taken[name] = slot[name]
            original, value = self._taken[name], container[adapter]
            dtype = bias_dtype(host) if original is None else original.dtype
            if value.dtype != dtype and not value.is_meta:
                flag = value.requires_grad
                self.set_tensor(name, adapter, value.detach().to(dtype))
                container[adapter].requires_grad_(flag)
            slot[name] = container[adapter]

    def _slot(self, name: str) -> dict[str, Any]:
        return self.host._buffers if name in self.host._buffers else self.host._parameters

    def _switch_entries(self, adapters: Sequence[str]) -> None:
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

    def _before_host(self, _host: nn.Module, _args: tuple[Any, ...]) -> None:
        """Loaders that replace parameters (transformers') leave the host with the old ones."""
        if torch.compiler.is_compiling():
            return
        for name in self._taken:
            container = getattr(self, self.prefix + name)
            if not any(self._slot(name)[name] is container[adapter] for adapter in container):
                self.sync()
                return

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
        self._switch_entries([])
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        with torch.no_grad():
            for name, value in self._taken.items():
                if value is not None:
                    moved = fn(value.detach())
                    self._taken[name] = nn.Parameter(moved, False) if isinstance(value, nn.Parameter) else moved
            self._originals = {name: (fn(places), fn(kept)) for name, (places, kept) in self._originals.items()}
        self._written.clear()
        for name in self._taken:
            adapter = next((a for a in self.active_adapters if a in getattr(self, self.prefix + name)), None)
            if adapter is not None:
                self._slot(name)[name] = getattr(self, self.prefix + name)[adapter]
        return result


def _reload(layer: Selected, _incompatible: Any) -> None:
    layer.sync()
