"""Methods that act on what flows into or out of a module: bottlenecks, prompts, interventions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from suite.adapters.carriers.base import TunerConfig
from suite.adapters.carriers.child import ChildLayer, ChildTuner
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
        self._hooks = []
        if type(self).before is not Site.before:
            self._hooks.append(self.host.register_forward_pre_hook(self._before, with_kwargs=True))
        if type(self).after is not Site.after:
            self._hooks.append(self.host.register_forward_hook(self._after, with_kwargs=True))

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
        for adapter in self.present():
            args, kwargs = self.before(args, kwargs, adapter)
        return args, kwargs

    def _after(self, _host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if self.disable_adapters:
            return None
        for adapter in self.present():
            output = self.after(args, kwargs, output, adapter)
        return output

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise InputError(f"{self.target}: {self.method} cannot be merged: it is no change of the weights")

    def unmerge(self) -> None:
        """Nothing is ever merged."""
