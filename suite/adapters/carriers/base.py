"""What every tuner of ours shares: the config fields, the peft tuner around a layer class, and its registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from peft import PeftConfig
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from suite.adapters.handle import Context
from suite.adapters.registry import MethodInfo, peft_type_of, register_tuner

CORE_VERSION = 1


@dataclass
class TunerConfig(PeftConfig):
    """Fields that the config of every method of ours has.

    Attributes:
        target_modules: endings of module names, or one regular expression over whole names.
        exclude_modules: the same, for modules to leave out.
        modules_to_save: whole modules that train along and are saved (peft's mechanism; `train=` reaches parameters).
        layers_to_transform: indices of the blocks to adapt; None for all.
        layers_pattern: name of the block list that those indices count.
        bias: biases of the base that train along: `none`, `all` or `<method>_only`.
        init_weights: False starts at random, away from the identity (tests of the machinery need it).
        core_version: raised when the meaning of a saved field changes.
    """

    method: ClassVar[str] = ""

    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    bias: str = "none"
    init_weights: bool = field(default=True)
    core_version: int = CORE_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type_of(self.method)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        if self.core_version > CORE_VERSION:
            raise ValueError(f"core_version {self.core_version} is newer than this package knows ({CORE_VERSION})")


class TunerLayer(nn.Module, BaseTunerLayer):
    """A peft tuner layer whose tensors are named by its method.

    Attributes:
        parameter_names: trained tensors; each lives in a `ParameterDict` by adapter name, `<prefix><name>`.
        buffer_names: kept tensors (indices, originals), saved along, in a `BufferDict`.
        module_names: trained modules, in a `ModuleDict`.
        target: dotted name of the adapted module, for messages.
    """

    prefix: ClassVar[str] = ""
    method: ClassVar[str] = ""
    parameter_names: ClassVar[tuple[str, ...]] = ()
    buffer_names: ClassVar[tuple[str, ...]] = ()
    module_names: ClassVar[tuple[str, ...]] = ()

    def _prepare(self, target: str) -> None:
        """Make the empty containers. Called once by the carrier's constructor."""
        self.target = target
        self.settings: dict[str, Any] = {}
        self.merged_adapters: list[str] = []
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self.cast_input_dtype_enabled = True
        self._active_adapter: str | list[str] = []
        self._disable_adapters = False
        self.context: Context = Context()
        for name in self.parameter_names:
            setattr(self, self.prefix + name, nn.ParameterDict())
        for name in self.module_names:
            setattr(self, self.prefix + name, nn.ModuleDict())
        for name in self.buffer_names:
            setattr(self, self.prefix + name, BufferDict(persistent=True))
        self.adapter_layer_names = tuple(self.prefix + name for name in (*self.parameter_names, *self.module_names))
        self.other_param_names = (*(self.prefix + name for name in self.buffer_names), "settings")

    def tensor(self, name: str, adapter: str) -> Tensor:
        """The tensor `name` of an adapter."""
        return getattr(self, self.prefix + name)[adapter]

    def set_tensor(self, name: str, adapter: str, value: Tensor | nn.Module) -> None:
        """Put an adapter's tensor in place; parameters become trainable leaves."""
        container = getattr(self, self.prefix + name)
        container[adapter] = nn.Parameter(value) if isinstance(container, nn.ParameterDict) else value

    def store(self, adapter: str, tensors: Mapping[str, Tensor | nn.Module]) -> None:
        """Put all tensors of a new adapter in place."""
        for name, value in tensors.items():
            self.set_tensor(name, adapter, value)

    def present(self) -> list[str]:
        """The active adapters that have tensors on this layer."""
        return [adapter for adapter in self.active_adapters if adapter in self.settings]

    def finish_update(self, adapter: str, config: TunerConfig) -> None:
        """The last step of every `update_layer`: device, dtype, who is active."""
        self.settings[adapter] = config
        self._move_adapter_to_device_of_base_layer(adapter)
        self.set_adapter(self.active_adapters or [adapter], inference_mode=config.inference_mode)

    def _all_available_adapter_names(self) -> list[str]:
        return sorted(self.settings)

    def __repr__(self) -> str:
        return f"{self.method}.{super().__repr__()}"


class CarrierTuner(BaseTuner):
    """The peft tuner of a method of ours; `tuner` derives one per method."""

    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

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
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config)
            return
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


Layer = TypeVar("Layer", bound=type[TunerLayer])


def tuner(info: MethodInfo, config_class: type[TunerConfig]) -> Callable[[Layer], Layer]:
    """Register a layer class as the method `info.name`; the class keeps working on its own.

    Args:
        info: what the method declares.
        config_class: its config; gets the method's name.
    """

    def register(layer_class: Layer) -> Layer:
        layer_class.method = info.name
        layer_class.prefix = f"{info.name}_"
        config_class.method = info.name
        name = f"{layer_class.__name__}Model"
        body = {
            "prefix": layer_class.prefix,
            "tuner_layer_cls": layer_class,
            "info": info,
            "__module__": layer_class.__module__,
            "__doc__": f"peft tuner of `{info.name}`: {info.paper}.",
        }
        register_tuner(config_class, type(name, (layer_class.tuner_base,), body), info)
        return layer_class

    return register
