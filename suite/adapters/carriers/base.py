"""What every tuner of ours shares: the layer with its tensors, the peft tuner around it, and its registration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from suite.adapters.carriers.config import TunerConfig
from suite.adapters.handle import ROWS, Context
from suite.adapters.registry import MethodInfo, kind_of_method, register_tuner
from suite.errors import InputError


def declared(info: MethodInfo, method_class: type) -> MethodInfo:
    """What a method's class declares, with the family that the folder of its file is."""
    return dataclasses.replace(info, kind=kind_of_method(info, method_class.__module__))


class Scratch(SimpleNamespace):
    """What one hook of a layer leaves for another within one forward. A copy of the layer has nothing in it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Scratch:
        return Scratch()

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        return Scratch, ()


class TunerLayer(nn.Module, BaseTunerLayer):
    """A peft tuner layer whose tensors are named by its method.

    Attributes:
        parameter_names: trained tensors; each lives in a `ParameterDict` by adapter name, `<prefix><name>`.
        buffer_names: kept tensors (indices, originals), saved along, in a `BufferDict`.
        state_names: kept tensors that only training needs (masks, scores): in its checkpoint, not in a saved adapter.
        module_names: trained modules, in a `ModuleDict`.
        shared_names: those of `parameter_names` that are one parameter for all layers of an adapter, or for all of the
            same `sharing`, and saved once.
        strength_field: the config field that multiplies all that an adapter does, if its method marks one.
        target: dotted name of the adapted module, for messages.
        scratch: what a hook leaves for a later one; emptied after the host's forward.
    """

    prefix: ClassVar[str] = ""
    method: ClassVar[str] = ""
    parameter_names: ClassVar[tuple[str, ...]] = ()
    buffer_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ()
    module_names: ClassVar[tuple[str, ...]] = ()
    shared_names: ClassVar[tuple[str, ...]] = ()
    strength_field: ClassVar[str | None] = None

    def sharing(self, adapter: str) -> str:
        """Which layers the tensors in `shared_names` are shared with: those that say the same."""
        return ""

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        """What training adds to the loss, by name.

        Scalars are summed over the adapter's layers; of vectors, the mean of all entries of all layers is taken.
        """
        return {}

    def trimmed(self, adapter: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What of an adapter a file holds, where that is less than what trains.

        Returns:
            Tensors by their names in `parameter_names` and `buffer_names`, for those that are cut; and, by config
            field (`rank_pattern`), the value of this layer with which `create` makes tensors of these shapes.
        """
        return {}, {}

    def filled(self, adapter: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The other way round of `trimmed`: a file's tensors that are smaller than this layer's, in its shapes."""
        return {}

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
        self.scratch = Scratch()
        self.strengths: dict[str, float] = {}
        for name in self.parameter_names:
            setattr(self, self.prefix + name, nn.ParameterDict())
        for name in self.module_names:
            setattr(self, self.prefix + name, nn.ModuleDict())
        for name in (*self.buffer_names, *self.state_names):
            setattr(self, self.prefix + name, BufferDict(persistent=True))
        self.adapter_layer_names = tuple(self.prefix + name for name in (*self.parameter_names, *self.module_names))
        buffers = (self.prefix + name for name in (*self.buffer_names, *self.state_names))
        self.other_param_names = (*buffers, "settings", "strengths")

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
        """The active adapters that have tensors on this layer and are not at strength 0."""
        return [adapter for adapter in self.active_adapters if adapter in self.settings and self.strength(adapter)]

    def strength(self, adapter: str) -> float:
        """How strongly an adapter acts: 1 as trained."""
        return self.strengths.get(adapter, 1.0)

    def set_strength(self, adapter: str, strength: float) -> None:
        """Let an adapter act more or less; 0 is as if it were not there."""
        self.strengths[adapter] = strength

    def factor(self, adapter: str) -> float:
        """The config field that is marked as the adapter's strength, times the strength it is set to."""
        own = getattr(self.settings[adapter], self.strength_field) if self.strength_field else 1.0
        return own * self.strength(adapter)

    def outer_strength(self, adapter: str) -> float:
        """The strength that the carrier applies: all of it, unless `factor` has it in the method's own formula."""
        return 1.0 if self.strength_field else self.strength(adapter)

    def groups(self, rows: int, *, whole: bool = False) -> list[tuple[list[str], list[int]]] | None:
        """Which rows of a batch which adapters act on, where the context says so; None where all are alike.

        Args:
            rows: of the batch.
            whole: keep rows apart that differ in adapters of other layers, too.

        Raises:
            InputError: the context tells of another number of rows.
        """
        asked = self.context.get(ROWS)
        if asked is None or self.disable_adapters:
            return None
        if len(asked) != rows:
            raise InputError(
                f"{self.target}: adapters are named for {len(asked)} rows and {rows} arrive; name one for each row"
            )
        found: dict[Any, tuple[list[str], list[int]]] = {}
        for row, names in enumerate(asked):
            here = self.present_in(names)
            found.setdefault(names if whole else tuple(here), (here, []))[1].append(row)
        return [*found.values()]

    def present_in(self, names: str | Sequence[str]) -> list[str]:
        """The adapters among `names` that have tensors on this layer and are not at strength 0, in attach order."""
        wanted = (names,) if isinstance(names, str) else names
        return [adapter for adapter in self.settings if adapter in wanted and self.strength(adapter)]

    def rebuild(self) -> None:
        """Make anew what comes from the base's weight and is not saved; called once the base has its values."""

    def rebuild_after_loading(self) -> None:
        """Rebuild whenever weights have been loaded into this layer, and what it is around, from now on."""
        if type(self).rebuild is not TunerLayer.rebuild:
            self.register_load_state_dict_post_hook(_rebuild)

    def finish_update(self, adapter: str, config: TunerConfig) -> None:
        """The last step of every `update_layer`: device, dtype, who is active."""
        self.settings[adapter] = config
        self.move(adapter)
        self.set_adapter(self.active_adapters or [adapter], inference_mode=config.inference_mode)

    def move(self, adapter: str, device: torch.device | None = None) -> None:
        """Put an adapter's tensors where its host's are, or on `device` if the host has none."""
        host = self.get_base_layer()
        if getattr(host, "weight", None) is None:  # peft looks for nothing else
            device = next((tensor.device for tensor in (*host.parameters(), *host.buffers())), device)
            self._move_adapter_to_device_of_base_layer(adapter, device)
        else:
            self._move_adapter_to_device_of_base_layer(adapter)

    def _all_available_adapter_names(self) -> list[str]:
        return sorted(self.settings)

    def __repr__(self) -> str:
        return f"{self.method}.{super().__repr__()}"


def share(model: nn.Module, adapter: str) -> None:
    """Make the parameters that an adapter's layers share one parameter: the first layer's.

    Raises:
        ValueError: they differ in shape.
    """
    first: dict[tuple[str, str, str], nn.Parameter] = {}
    for layer in model.modules():
        if not isinstance(layer, TunerLayer):
            continue
        for name in layer.shared_names:
            container: nn.ParameterDict = getattr(layer, layer.prefix + name)
            if adapter not in container:
                continue
            source = first.setdefault((layer.method, name, layer.sharing(adapter)), container[adapter])
            if source.shape != container[adapter].shape:
                sizes = f"{tuple(container[adapter].shape)}, elsewhere {tuple(source.shape)}"
                raise ValueError(f"{layer.target}: its layers share {name}, which is {sizes} here")
            container[adapter] = source


def _rebuild(layer: TunerLayer, _incompatible: Any) -> None:
    layer.rebuild()


class CarrierTuner(BaseTuner):
    """The peft tuner of a method of ours; `tuner` derives one per method."""

    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Add an adapter; what its layers share is one parameter from the start."""
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        share(model, adapter_name)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        share(self.model, adapter_name)  # peft makes a new parameter of each that it casts

    @contextmanager
    def _enable_peft_forward_hooks(
        self, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any
    ) -> Iterator[None]:
        """peft's own way to give every row of a batch its adapter: `model(x, adapter_names=[...])`."""
        with ExitStack() as stack:
            for holder in self._asked(adapter_names) if adapter_names is not None else ():
                stack.enter_context(holder.holding({**holder.values, ROWS: tuple(adapter_names or ())}))
            yield

    def _asked(self, names: Sequence[str]) -> list[Context]:
        """The contexts that the layers read, once it is clear that each named adapter can act on rows of its own."""
        layers = [layer for layer in self.modules() if isinstance(layer, TunerLayer)]
        unknown = set(names) - {"__base__"} - {adapter for layer in layers for adapter in layer.settings}
        if unknown:
            raise ValueError(f"adapter_names: there is no adapter {', '.join(map(repr, sorted(unknown)))}")
        if not self.info.by_row:
            raise ValueError(f"adapter_names: {self.info.name} acts on all rows of a batch alike")
        return [*{id(layer.context): layer.context for layer in layers}.values()]

    @classmethod
    def _places(cls, model: nn.Module, adapter: str) -> Iterator[tuple[str, Any, list[str]]]:
        """The start of the keys of every layer with the adapter, the layer, and its tensors that files leave out."""
        seen: set[tuple[str, str]] = set()
        for place, layer in model.named_modules():
            if isinstance(layer, cls.tuner_layer_cls) and adapter in layer.settings:
                # A model cut over processes has names in its modules that its state has not.
                place = place.replace("_fsdp_wrapped_module.", "")
                group = layer.sharing(adapter)
                shared = [name for name in layer.shared_names if adapter in getattr(layer, layer.prefix + name)]
                again = [name for name in shared if (group, name) in seen]
                yield f"{place}.{layer.prefix}" if place else layer.prefix, layer, [*layer.state_names, *again]
                seen.update((group, name) for name in layer.shared_names)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        # peft looks for the name at the end alone; modules of ours have modules inside.
        for name in cls.tuner_layer_cls.module_names:
            front, found, rest = key.partition(f".{cls.prefix}{name}.{adapter_name}.")
            if found:
                return f"{front}.{cls.prefix}{name}.{rest}"
        return super()._remove_adapter_name_from_key(key, adapter_name)

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """An adapter's tensors as a file holds them: shared ones once, cut to their final size, no training state."""
        state = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, *args, **kwargs)
        patterns: dict[str, dict[str, Any]] = {}
        for start, layer, left_out in cls._places(model, adapter_name):
            for name in left_out:
                state.pop(f"{start}{name}.{adapter_name}", None)
            tensors, pattern = layer.trimmed(adapter_name)
            state.update({f"{start}{name}.{adapter_name}": tensor.detach() for name, tensor in tensors.items()})
            for name, value in pattern.items():
                patterns.setdefault(name, {})[re.escape(layer.target)] = value
        for name, found in patterns.items():
            setattr(config, name, {**getattr(config, name), **found})
        return state

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The other way round: what files leave out stays as it is, and peft misses nothing."""
        state = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        shared: dict[tuple[str, str], Tensor] = {}
        for start, layer, left_out in cls._places(model, adapter_name):
            group = layer.sharing(adapter_name)
            for name in left_out:
                value = shared.get((group, name), layer.tensor(name, adapter_name).detach())
                state.setdefault(f"{start}{name}.{adapter_name}", value)
            keys = {name: f"{start}{name}.{adapter_name}" for name in layer.shared_names}
            shared.update({(group, name): state[key] for name, key in keys.items() if key in state})
            keys = {name: f"{start}{name}.{adapter_name}" for name in layer.parameter_names}
            own = {name: state[key] for name, key in keys.items() if key in state}
            filled = layer.filled(adapter_name, own)
            state.update({f"{start}{name}.{adapter_name}": tensor for name, tensor in filled.items()})
        return state

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
        known = declared(info, layer_class)
        layer_class.method = info.name
        layer_class.prefix = f"{info.name}_"
        marked = [field.name for field in dataclasses.fields(config_class) if field.metadata.get("strength")]
        layer_class.strength_field = marked[0] if marked else None
        config_class.method = info.name
        name = f"{layer_class.__name__}Model"
        body = {
            "prefix": layer_class.prefix,
            "tuner_layer_cls": layer_class,
            "info": known,
            "__module__": layer_class.__module__,
            "__doc__": f"peft tuner of `{info.name}`: {info.paper}.",
        }
        register_tuner(config_class, type(name, (layer_class.tuner_base,), body), known)
        return layer_class

    return register
