"""Tuner layers that sit inside their host as a child, so that the host keeps its class, its place and its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import DUMMY_TARGET_MODULES
from peft.utils.integrations import init_empty_weights
from torch import Tensor, nn

from suite.adapters.carriers.base import CarrierTuner, TunerLayer
from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.weights import kind_of, sizes
from suite.adapters.handle import base_modules
from suite.adapters.registry import method_info
from suite.errors import InputError

# `target_modules` that mean the outermost module alone, whose name is empty.
OUTERMOST = ("", "^$")
# A child of one of these would be called, or iterated, as one of their elements.
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class ChildLayer(TunerLayer):
    """A tuner layer that is a child module of the module it adapts."""

    def __init__(self, host: nn.Module, adapter_name: str, config: TunerConfig, target: str = "") -> None:
        super().__init__()
        if isinstance(host, CONTAINERS):
            raise InputError(f"{target}: a {type(host).__name__} only holds modules; target one of its elements")
        self._prepare(target)
        self._host = (host,)  # in a tuple: a module attribute would make the host a child of its child
        if kind_of(host) is not None:
            self.in_features, self.out_features = sizes(host)
        self._active_adapter = [adapter_name]
        self.install()
        self.update_layer(adapter_name, config)

    @property
    def host(self) -> nn.Module:
        """The module this layer adapts and lives in."""
        return self._host[0]

    def get_base_layer(self) -> nn.Module:
        return self.host

    def install(self) -> None:
        """Connect to the host; bound methods only, so that a deepcopy of the model calls the copied layer."""

    def bake(self) -> None:
        """Let what a merge did to the host stay when the layer leaves."""

    def uninstall(self) -> None:
        """Disconnect from the host and leave it."""
        delattr(self.host, child_name(self.method))

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        """Add an adapter to this layer."""
        raise TypeError(f"{type(self).__name__} must define update_layer")

    def forward(self) -> None:
        raise RuntimeError("this layer acts through its host and is never called itself")


def _shared_parameters(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Parameters that several modules of the base hold (tied weights), with the names that they have there."""
    places: dict[nn.Parameter, dict[int, str]] = {}
    for name, module in base_modules(model).items():
        for tensor, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(parameter, {}).setdefault(id(module), f"{name}.{tensor}".lstrip("."))
    return {parameter: [*owners.values()] for parameter, owners in places.items() if len(owners) > 1}


def exactly(names: Iterable[str]) -> str:
    """A `target_modules` that means these modules and no others: peft reads lists as endings of names."""
    return "|".join(re.escape(name) for name in names)


def child_name(method: str) -> str:
    """Attribute of the host that holds the layer. Must not contain `<method>_`: peft skips names that do."""
    return f"suite_{method}"


class ChildTuner(CarrierTuner):
    """The peft tuner of child layers: adds to the target instead of replacing it."""

    tuner_layer_cls: ClassVar[type[ChildLayer]]

    def _create_and_replace(
        self,
        peft_config: TunerConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        self.add_to(target, adapter_name, peft_config, current_key)

    def add_to(self, target: nn.Module, adapter: str, config: TunerConfig, key: str) -> None:
        """Add the adapter to the module itself, inside whatever weight changes are around it."""
        while isinstance(target, BaseTunerLayer) and hasattr(target, "base_layer"):
            target = target.base_layer
        name = child_name(self.tuner_layer_cls.method)
        existing = getattr(target, name, None)
        if existing is not None:
            existing.update_layer(adapter, config)
            return
        layer = self.tuner_layer_cls(target, adapter, config, key)
        layer.move(adapter, next((parameter.device for parameter in self.model.parameters()), None))
        target.add_module(name, layer)
        if adapter not in self.active_adapters:
            layer.set_adapter([])

    def hosts(self, model: nn.Module, config: Any) -> dict[str, nn.Module]:
        """Modules to adapt beside those that peft finds by name: the outermost, whose name is empty."""
        targets = config.target_modules
        return {"": model} if targets in OUTERMOST or (isinstance(targets, set) and "" in targets) else {}

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args: Any, low_cpu_mem_usage: bool = False, **kwargs: Any
    ) -> None:
        """Add an adapter; weights that the model uses in several places stay one weight, or are refused."""
        config, sharing = self.peft_config[adapter_name], _shared_parameters(model)
        self._adding = adapter_name, self.hosts(model, config), low_cpu_mem_usage
        wanted = config.target_modules
        alone = wanted in (*OUTERMOST, {""})
        if alone:
            config.target_modules = DUMMY_TARGET_MODULES  # no further module is to be found
        try:
            super().inject_adapter(model, adapter_name, *args, low_cpu_mem_usage=low_cpu_mem_usage, **kwargs)
        finally:
            if alone:
                config.target_modules = wanted
        if sharing:
            layers = [layer for layer in model.modules() if isinstance(layer, self.tuner_layer_cls)]
            self._keep_tied([layer for layer in layers if adapter_name in layer.settings], adapter_name, sharing)

    def _prepare_model(self, peft_config: TunerConfig, model: nn.Module) -> None:
        """Add the hosts that peft's own loop does not reach."""
        adapter, hosts, empty = self._adding
        if hosts and not any(isinstance(module, BaseTunerLayer) for module in model.modules()):
            model.requires_grad_(False)  # peft will meet adapters, and leave the flags as they are
        with init_empty_weights() if empty else nullcontext():
            for name, host in hosts.items():
                self.add_to(host, adapter, peft_config, name)

    def _keep_tied(self, layers: list[Any], adapter: str, sharing: dict[nn.Parameter, list[str]]) -> None:
        """For tuners whose layers train the host's own parameters."""

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """peft files the bias of a layer that a tuner's is around; here that of its host, which is around it."""
        state = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, *args, **kwargs)
        if config.bias == f"{config.method}_only":
            for place, layer in model.named_modules():
                if isinstance(layer, cls.tuner_layer_cls) and adapter_name in layer.settings:
                    # A model cut over processes has names in its modules that its state has not.
                    host = place.removesuffix(child_name(config.method)).replace("_fsdp_wrapped_module.", "")
                    if f"{host}bias" in state_dict:
                        state[f"{host}bias"] = state_dict[f"{host}bias"]
        return state

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        super()._mark_only_adapters_as_trainable(model)
        # A selected tensor is the host's own parameter as well, and was just frozen under that name.
        for layer in model.modules():
            if isinstance(layer, self.tuner_layer_cls):
                trained = [name for name in layer.active_adapters if name in layer.settings]
                for name in trained:
                    layer.set_requires_grad(name, not layer.settings[name].inference_mode)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        for layer in self.model.modules():
            if isinstance(layer, self.tuner_layer_cls):
                layer.set_adapter(layer.active_adapters)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:
        layers = [layer for layer in self.model.modules() if isinstance(layer, self.tuner_layer_cls)]
        if merge:
            self._check_merge_allowed()
            for layer in layers:
                layer.merge(safe_merge=safe_merge, adapter_names=adapter_names)
        for layer in layers:
            if merge:
                layer.bake()
            layer.uninstall()
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config
        return self.model

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        if not method_info(self.tuner_layer_cls.method).mergeable:
            raise InputError(f"{self.tuner_layer_cls.method} cannot be merged: it is no change of the weights")
