"""Training single entries of the host's weight: their values are parameters of their own, in float32.

They are written into the weight whenever they may have changed, so that every reader of the weight sees them.
Gradients reach them through `product`, the host's forward, or through `placed`, for code that takes the weight itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from suite.adapters.carriers.child import child_name
from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.entry_product import EntryProduct, Link, is_cheaper
from suite.adapters.carriers.selected import Selected
from suite.adapters.carriers.weights import is_transposed
from suite.errors import InputError


class _Mark:
    """Which tensor was written, at which version. A copy marks nothing: copies of tensors start counting anew."""

    def __init__(self, tensor: Tensor | None = None, version: int = -1) -> None:
        self.tensor, self.version = tensor, version

    def __deepcopy__(self, memo: dict[int, Any]) -> _Mark:
        return _Mark()

    def __reduce__(self) -> tuple[type[_Mark], tuple[()]]:
        return _Mark, ()

    def holds(self, tensor: Tensor) -> bool:
        """Whether `tensor` is unchanged since, as far as autograd counts."""
        return self.tensor is not None and self.tensor is tensor and self.version == tensor._version


class SelectedEntries(Selected):
    """Owns the values of entries of the host's weight, and of its bias where a method says so.

    A method states `choose` (which entries), `start` and `values` (what it trains, and what then stands there); `at`,
    where its places are no flat positions; and `product`, where the values' gradient is cheaper than the weight's and
    the host is no plain linear layer. The first of `parameter_names` is what trains, the first of `buffer_names` the
    places.

    Attributes:
        entry_axis: the axis of the trained tensor that runs over the places.
        entry_tensors: the host's tensors whose entries may train; places count through them, one after the other.
    """

    entry_axis: ClassVar[int] = -1
    entry_tensors: ClassVar[tuple[str, ...]] = ("weight",)

    def choose(self, adapter: str) -> Tensor:
        """Which entries a new adapter trains, as integers that differ between entries: (places,)."""
        raise TypeError(f"{type(self).__name__} must define choose")

    def start(self, adapter: str, places: Tensor) -> Tensor:
        """The trained tensor with which the host's weight stays as it is at the given places."""
        raise TypeError(f"{type(self).__name__} must define start")

    def values(self, adapter: str) -> Tensor:
        """What is to stand at the adapter's places, as a function of what trains."""
        raise TypeError(f"{type(self).__name__} must define values")

    def at(self, places: Tensor) -> Any:
        """The index into the host's weight, as the host stores it, that the places mean."""
        return torch.unravel_index(places.long(), self.host.weight.shape)

    def holders(self) -> dict[str, nn.Parameter]:
        """Those of `entry_tensors` that the host has, by name."""
        held = {name: getattr(self.host, name, None) for name in self.entry_tensors}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    @classmethod
    def tensors_of(cls, module: nn.Module) -> dict[str, Tensor]:
        """What of a module may train by this method, by name, as it is without adapters of this method."""
        there = getattr(module, child_name(cls.method), None)
        if there is not None and there._originals:
            return cast(dict[str, Tensor], there._tensors_of(()))
        held = {name: getattr(module, name, None) for name in cls.entry_tensors}
        return {name: tensor.detach() for name, tensor in held.items() if tensor is not None}

    def parts(self, places: Tensor) -> list[tuple[str, Any, Any]]:
        """Where places lie: by tensor of the host, the index into it and which of the places these are."""
        for mark, known in self._found_parts:
            if mark.holds(places):
                return known
        start = 0
        found: list[tuple[str, Any, Any]] = []
        if len(self.entry_tensors) == 1:
            found.append((self.entry_tensors[0], self.at(places), slice(None)))
        for name, tensor in self.holders().items() if not found else ():
            inside = (places >= start) & (places < start + tensor.numel())
            own = torch.zeros(0, dtype=torch.int64, device="meta") if places.is_meta else inside.nonzero()[:, 0]
            found.append((name, torch.unravel_index(places[own].long() - start, tensor.shape), own))
            start += tensor.numel()
        self._found_parts[:-3] = []
        self._found_parts.append((_Mark(places, places._version), found))
        return found

    def product(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        """The host's forward, with gradients to what the active adapters train.

        A plain linear layer gathers the gradients of few entries. Otherwise this takes the weight whole and keeps, of
        its gradient, what lies at the places: its backward makes one as large as the weight, for a moment.
        """
        plain = type(self.host).forward is nn.Linear.forward and type(self).at is SelectedEntries.at
        entries = sum(self.places(adapter).numel() for adapter in adapters) if plain else 0
        if not plain or not is_cheaper(entries, self.host.weight):
            tensors = {name: self._linked(name, tensor, adapters) for name, tensor in self.holders().items()}
            return self._forward_with(tensors, x, *args, **kwargs)
        groups = []
        for adapter in adapters:
            values = self.values(adapter)
            for name, index, own in self.parts(self.places(adapter)):
                groups += [*index, values[..., own]] if name == "weight" else []
        bias = self.host.bias
        if "bias" in self.entry_tensors and bias is not None:
            bias = self._linked("bias", bias, adapters)
        product: Tensor = EntryProduct.apply(x, self.host.weight, bias, *groups)
        return product

    def trained(self, adapter: str) -> Tensor:
        """What an adapter trains."""
        return self.tensor(self.parameter_names[0], adapter)

    def places(self, adapter: str) -> Tensor:
        """Which entries an adapter trains: (places,)."""
        return self.tensor(self.buffer_names[0], adapter)

    def original(self, adapter: str) -> Tensor:
        """What the base has at an adapter's places."""
        kept = self._originals.get(adapter)
        return self.read(self.places(adapter)) if kept is None else kept[1]

    def read(self, places: Tensor) -> Tensor:
        """A copy of the host's entries at the given places."""
        held = self.holders()
        found = [(held[name].detach()[index], own) for name, index, own in self.parts(places)]
        if len(self.entry_tensors) == 1:
            return found[0][0].clone()
        values = torch.empty(places.shape, dtype=self.host.weight.dtype, device=places.device)
        for entries, own in found:
            values[own] = entries.to(values.dtype)
        return values

    def placed(self, weight: Tensor, rows: Sequence[Any] | None = None) -> Tensor:
        """The host's weight, (out, in, ...) and just read, with gradients to what acts; see `effective_weight`."""
        if self.disable_adapters:
            return weight
        flipped = is_transposed(self.host)
        stored = weight.T if flipped else weight
        if rows is None:
            stored = self._linked("weight", stored, self.present())
        else:
            stored = self._tensors_of(self.present_in(rows[0]))["weight"].to(weight.dtype)
        return stored.T if flipped else stored

    def placed_bias(self, bias: Tensor | None, rows: Sequence[Any] | None = None) -> Tensor | None:
        """The same for the host's bias."""
        if self.disable_adapters or bias is None or "bias" not in self.entry_tensors:
            return bias
        if rows is None:
            return self._linked("bias", bias, self.present())
        return self._tensors_of(self.present_in(rows[0]))["bias"].to(bias.dtype)

    def _linked(self, name: str, tensor: Tensor, adapters: Sequence[str]) -> Tensor:
        """The host's `tensor`, in which the values stand already, as a function of them."""
        for adapter in adapters:
            for part, index, own in self.parts(self.places(adapter)):
                if part == name:
                    tensor = Link.apply(tensor, index, self.values(adapter)[..., own])
        return tensor

    def _forward_with(self, tensors: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The host's own forward with other tensors in the place of its own."""
        slots: dict[str, Any] = self.host._parameters
        kept = {name: slots[name] for name in tensors}
        slots.update(tensors)
        try:
            return type(self.host).forward(self.host, *args, **kwargs)
        finally:
            slots.update(kept)

    def _tensors_of(self, adapters: Sequence[str]) -> dict[str, Tensor]:
        """The host's tensors as exactly these adapters make them, whoever is active."""
        tensors = {name: tensor.detach().clone() for name, tensor in self.holders().items()}
        own = [(self.places(adapter), self.values(adapter)) for adapter in adapters]
        for places, values in (*self._originals.values(), *own):
            for name, index, part in self.parts(places):
                tensors[name][index] = values[..., part].to(tensors[name].dtype)
        return tensors

    def install(self) -> None:
        super().install()
        self._originals: dict[str, tuple[Tensor, Tensor]] = {}
        self._written: dict[str, _Mark] = {}
        self._found_parts: list[tuple[_Mark, list[tuple[str, Any, Any]]]] = []
        self._hooks.append(self.host.register_state_dict_pre_hook(self._before_saving))
        self.host.forward = self._host_forward

    def trains(self, name: str) -> bool:
        return name in self.entry_tensors

    def bases(self, adapter: str) -> dict[str, nn.Parameter]:
        return self.holders()

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        self.refresh()
        super().merge(safe_merge, adapter_names)

    def restore(self) -> None:
        self._switch([])

    def uninstall(self) -> None:
        super().uninstall()
        del self.host.forward

    def bake(self) -> None:
        """Let the values that stand in the host stay there for good."""
        self.refresh()
        self._originals.clear()

    def create(self, adapter: str, config: Any) -> dict[str, Tensor]:
        """The tensors of a new adapter, by the names in `parameter_names` and `buffer_names`."""
        places = self.choose(adapter)
        trained = self.start(adapter, places)
        if not config.init_weights:
            trained = trained + 0.1 * torch.randn_like(trained)
        return {self.parameter_names[0]: trained, self.buffer_names[0]: places}

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        self.settings[adapter_name] = config
        self.store(adapter_name, self.create(adapter_name, config))
        if config.init_weights:
            self._keep(adapter_name)
            self._written[adapter_name] = _Mark(self.trained(adapter_name), self.trained(adapter_name)._version)
        self.finish_update(adapter_name, config)

    def delete_adapter(self, adapter_name: str) -> None:
        if adapter_name in self._originals:
            self._switch([name for name in self._originals if name != adapter_name])
        super().delete_adapter(adapter_name)

    @torch.no_grad()
    def reselect(self, adapter: str, places: Tensor) -> Tensor:
        """Let the adapter train other entries, as many as before.

        Entries that stay keep what they have learnt; the base's own return to those that leave; new ones start there.

        Returns:
            (places,), true where an entry is new: what an optimiser knows there is of another entry.

        Raises:
            InputError: there are more or fewer of them.
        """
        known, trained = self.places(adapter), self.trained(adapter)
        if known.shape != places.shape:
            raise InputError(f"{self.target}: {adapter!r} trains {known.numel()} entries, not {places.numel()}")
        places = places.to(known)
        ordered, order = known.sort()
        position = torch.searchsorted(ordered, places).clamp(max=known.numel() - 1)
        stays = ordered[position] == places
        kept = trained.detach().index_select(self.entry_axis, order[position[stays]])
        self._switch([name for name in self._originals if name != adapter])
        fresh = self.start(adapter, places).index_copy(self.entry_axis, stays.nonzero()[:, 0], kept)
        known.copy_(places)
        trained.copy_(fresh)
        self.sync()
        return ~stays

    def sync(self) -> None:
        self._switch(self.standing())

    def _switch(self, adapters: Sequence[str]) -> None:
        """Make the entries of exactly these adapters stand in the host."""
        if self.host.weight.is_meta:  # nothing stands in a weight without values
            self._originals.clear()
            self._written.clear()
            return
        for adapter in [name for name in self._originals if name not in adapters]:
            self._write(*self._originals.pop(adapter))
            self._written.pop(adapter, None)
        for adapter in adapters:
            if adapter not in self._originals:
                self._check_disjoint(adapter, adapters)
                self._keep(adapter)
                self._put(adapter)
        self.refresh()

    def _keep(self, adapter: str) -> None:
        """Remember what stands at the adapter's places before its values go there."""
        places = self.places(adapter)
        self._originals[adapter] = places, self.read(places)

    def _write(self, places: Tensor, values: Tensor, *, counted: bool = True) -> None:
        """Put values at places of the host's weight; uncounted, a graph that holds the weight stays valid."""
        held = self.holders()
        for name, index, own in self.parts(places):
            tensor = held[name].detach() if counted else held[name].data
            tensor[index] = values.detach()[..., own].to(tensor.dtype)

    def _check_disjoint(self, adapter: str, adapters: Sequence[str]) -> None:
        others = [other for other in adapters if other != adapter and other in self._originals]
        for other in others:
            if torch.isin(self.places(adapter), self.places(other)).any():
                raise InputError(f"{self.target}: {adapter!r} and {other!r} select the same entries; activate one")

    def refresh(self) -> None:
        """Write the values into the host. Where they are frozen and unchanged there is nothing to do."""
        if self.merged:
            return  # others may have folded their changes into the same entries since
        for adapter in [*self._originals]:
            self._put(adapter)

    def _put(self, adapter: str) -> None:
        trained = self.trained(adapter)
        if trained.is_meta:
            return
        self._follow(adapter)
        unchanged = self._written.get(adapter, _Mark()).holds(trained)
        if unchanged and not trained.requires_grad:
            return
        # bitsandbytes' optimisers and `p.data` write past autograd's counter, so what may train is written again.
        self._write(self.places(adapter), self.values(adapter), counted=not unchanged)
        self._written[adapter] = _Mark(trained, trained._version)

    def _follow(self, adapter: str) -> None:
        """Take over other places, which a loader may have put here without a word."""
        (known, values), places = self._originals[adapter], self.places(adapter)
        if known is places:
            return
        if known.shape == places.shape and torch.equal(known, places):
            self._originals[adapter] = places, values
            return
        self._write(known, values)
        self._keep(adapter)
        self._written.pop(adapter, None)

    def _before_saving(self, _host: nn.Module, _prefix: str, _keep_vars: bool) -> None:
        """What an optimiser changed since the last forward stands in the values alone; files want it in the weight."""
        self.refresh()

    def _host_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        groups = None if self.merged else self.groups(x.shape[0])
        if groups is not None:
            outputs = [
                self._forward_with(self._tensors_of(adapters), x[rows], *args, **kwargs) for adapters, rows in groups
            ]
            order = torch.tensor([row for _, rows in groups for row in rows], device=x.device)
            return torch.cat(outputs)[order.argsort()]
        active = [] if self.disable_adapters else self.present()
        if not active:
            return type(self.host).forward(self.host, x, *args, **kwargs)
        if not torch.compiler.is_compiling():
            self.refresh()
        return self.product(x, active, *args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # Other places may come in: what stands at the present ones goes back first.
        self._switch([])
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        self._originals = {
            name: (self._moved(fn, places), self._moved(fn, kept)) for name, (places, kept) in self._originals.items()
        }
        self._written.clear()
        self._found_parts.clear()
        return result
