"""Methods that act on what flows into or out of a module: bottlenecks, prompts, interventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from suite.adapters.carriers.child import ChildLayer, ChildTuner
from suite.adapters.carriers.config import TunerConfig
from suite.adapters.handle import ROWS
from suite.errors import InputError


class Site(ChildLayer):
    """A child of its host that changes the host's input, output, or both.

    A method states `parameter_names` (or `module_names`), `create`, and `before` or `after`. Side information of a
    forward is in `self.context`.
    """

    tuner_base = ChildTuner

    def create(self, adapter: str, config: Any) -> dict[str, Tensor | nn.Module]:
        """The tensors of a new adapter, by the names in `parameter_names`, `buffer_names` and `module_names`."""
        raise TypeError(f"{type(self).__name__} must define create")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any], adapter: str) -> tuple[tuple[Any, ...], dict]:
        """The host's changed arguments."""
        return args, kwargs

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        """The host's changed output; `args` and `kwargs` are what the host was called with."""
        return output

    def install(self) -> None:
        self._hooks: list[Any] = []
        self._watched: list[tuple[nn.Module, str]] = []
        if type(self).before is not Site.before:
            self._hooks.append(self.host.register_forward_pre_hook(self._before, with_kwargs=True))
        if type(self).after is not Site.after:
            self._hooks.append(self.host.register_forward_hook(self._after, with_kwargs=True))

    def watch(self, module: nn.Module, *, before: Any = None, after: Any = None) -> None:
        """Call methods of this layer at another module, inside or at the host; asking again changes nothing.

        Args:
            module: where.
            before: `(module, args, kwargs)`, which may return other `(args, kwargs)`.
            after: `(module, args, kwargs, output)`, which may return another output.
        """
        if not self._watched:
            self._hooks.append(self.host.register_forward_hook(self._forget, always_call=True))
        for method, register in ((before, module.register_forward_pre_hook), (after, module.register_forward_hook)):
            if method is not None and (module, method.__name__) not in self._watched:
                self._watched.append((module, method.__name__))
                self._hooks.append(register(method, with_kwargs=True))

    def _forget(self, *_: Any) -> None:
        # Part of a graph, it would keep the activations of a forward that is over.
        vars(self.scratch).clear()

    def uninstall(self) -> None:
        for hook in self._hooks:
            hook.remove()
        super().uninstall()

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        self.store(adapter_name, self.create(adapter_name, config))
        self.finish_update(adapter_name, config)

    def _before(self, _host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.disable_adapters:
            return None

        def change(given: Any, adapter: str) -> Any:
            args, kwargs = given
            return self.before(args, kwargs, adapter)

        return self._changed((args, kwargs), (args, kwargs), change)

    def _after(self, _host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if self.disable_adapters:
            return None

        def change(given: Any, adapter: str) -> Any:
            args, kwargs, output = given
            return args, kwargs, self.after(args, kwargs, output, adapter)

        return self._changed((args, kwargs, output), (args, kwargs), change)[2]

    def _changed(self, given: Any, called: Any, change: Callable[[Any, str], Any]) -> Any:
        """What `change` makes of `given` for every adapter that acts, at its strength, on the rows that it acts on."""
        if self.context.get(ROWS) is None:
            return self._together(given, self.present(), change)
        rows = _rows(called)
        for adapters, own in self.groups(rows) or []:
            if len(own) == rows:
                return self._together(given, adapters, change)
            part = tree_map(partial(_rows_of, own=own, rows=rows), given)
            with self.context.narrowed(own):
                new = self._together(part, adapters, change)
            given = self._combined(given, new, partial(_put, own=own, rows=rows))
        return given

    def _together(self, given: Any, adapters: Sequence[str], change: Callable[[Any, str], Any]) -> Any:
        for adapter in adapters:
            new, strength = change(given, adapter), self.outer_strength(adapter)
            if strength != 1.0:
                new = self._combined(given, new, partial(_blend, strength=strength))
            given = new
        return given

    def _combined(self, old: Any, new: Any, combine: Callable[[Tensor, Tensor], Tensor]) -> Any:
        """`combine` of the tensors of two structures that may differ in their values alone."""
        (before, shape), (after, other) = tree_flatten(old), tree_flatten(new)
        pairs = [*zip(before, after, strict=False)]
        if shape != other or any(isinstance(a, Tensor) and a.shape[1:] != b.shape[1:] for a, b in pairs):
            raise InputError(
                f"{self.target}: {self.method} acts on all rows of a batch alike, and wholly or not at all"
            )
        return tree_unflatten([combine(a, b) if isinstance(a, Tensor) and a is not b else b for a, b in pairs], shape)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise InputError(f"{self.target}: {self.method} cannot be merged: it is no change of the weights")

    def unmerge(self) -> None:
        """Nothing is ever merged."""


def _rows(called: Any) -> int:
    """The batch's rows: the first axis of the first tensor that the host was called with."""
    return next((len(leaf) for leaf in tree_flatten(called)[0] if isinstance(leaf, Tensor) and leaf.dim()), 0)


def _is_batch(leaf: Any, rows: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == rows


def _rows_of(leaf: Any, own: list[int], rows: int) -> Any:
    return leaf[own] if _is_batch(leaf, rows) else leaf


def _put(old: Tensor, new: Tensor, own: list[int], rows: int) -> Tensor:
    """`old` (rows, ...) with `new` in its `own` rows; what is no batch stays."""
    if not _is_batch(old, rows):
        return old
    return old.index_copy(0, torch.tensor(own, device=old.device), new.to(old.dtype))


def _blend(old: Tensor, new: Tensor, strength: float) -> Tensor:
    return old + strength * (new - old) if old.is_floating_point() else new
