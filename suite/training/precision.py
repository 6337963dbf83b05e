"""bfloat16 for adapters: on a base in bfloat16 they are cast once a batch, any other base runs under autocast.

Autocast casts every weight at every use and keeps norms and additions in float32: on a base in bfloat16 these casts are
a third of a step. Here nothing is cast but what trains. The optimiser, the averages and the checkpoints hold
parameters in float32; for one batch, forward and backward, the modules hold copies in bfloat16 in their places, from
which the gradients flow back into the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from suite.adapters.handle import ATTRIBUTE
from suite.adapters.registry import method_info
from suite.training.choices import BF16

Slot = tuple[nn.Module, str]
"""A place where a parameter hangs: a module and the name in it."""


def plugin_of(precision: str, device: str) -> Precision | None:
    """The plug-in for a precision that Lightning has not, or has for GPUs only; None leaves it to Lightning."""
    if precision == BF16:
        return AdapterPrecision()
    if precision == "16-mixed":
        return MixedPrecision("16-mixed", device)
    return None


class AdapterPrecision(Precision):
    """Products in bfloat16, decided when the model is there: adapters cast once a batch, or autocast.

    Attributes:
        casts: the copies of a base in bfloat16; None before the model is there, and where autocast does the work.
    """

    precision: Any = BF16

    def __init__(self) -> None:
        self.casts: Casts | None = None
        self._module: nn.Module | None = None

    def convert_module(self, module: nn.Module) -> nn.Module:
        self._module = module
        self.casts = Casts(module) if can_cast(module) else None
        return module

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        with self.casts.held() if self.casts else self._autocast():
            yield

    def _autocast(self) -> torch.autocast:
        device = (
            next((parameter.device.type for parameter in self._module.parameters()), "cpu") if self._module else "cpu"
        )
        # Weights that change are cast anew each time; frozen ones would be kept for nothing but one forward.
        return torch.autocast(device, torch.bfloat16, cache_enabled=False)

    @contextmanager
    def train_step_context(self) -> Iterator[None]:
        if self.casts is None:
            with self.forward_context():
                yield
            return
        # Recomputed blocks must meet, in the backward pass, the very tensors of their forward pass.
        self.casts.put()
        try:
            yield
        except BaseException:
            self.casts.take_back()
            raise

    def backward(self, *args: Any, **kwargs: Any) -> None:
        with self.casts.given_back() if self.casts else nullcontext():
            super().backward(*args, **kwargs)


class Casts:
    """Copies in bfloat16 of a model's float32 parameters that train or belong to active adapters.

    Args:
        model: where they hang.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._replaced: list[tuple[Slot, nn.Parameter]] = []

    def put(self) -> None:
        """Hang copies, made from the parameters as they are now, in the places of the parameters."""
        self.take_back()
        places = cast_places(self.model)
        leaves = list(places)
        for leaf, copy in zip(leaves, cast(leaves), strict=True):
            for module, name in places[leaf]:
                # As `torch.func.functional_call` does: a module takes a plain tensor in the place of a parameter.
                module._parameters[name] = copy
                self._replaced.append(((module, name), leaf))

    def take_back(self) -> None:
        """Hang the parameters back; does nothing where they hang."""
        for (module, name), leaf in self._replaced:
            module._parameters[name] = leaf
        self._replaced.clear()

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Parameters hang again after the block, also when it fails."""
        try:
            yield
        finally:
            self.take_back()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Copies inside the block, parameters after it."""
        self.put()
        with self.given_back():
            yield


def cast_places(model: nn.Module) -> dict[nn.Parameter, list[Slot]]:
    """Every float32 parameter that trains or belongs to an active adapter, with all places where it hangs."""
    wanted = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    for layer in _tuner_layers(model):
        wanted |= {id(parameter) for parameter in _parameters(layer, layer.active_adapters)}
    places: dict[nn.Parameter, list[Slot]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.dtype is torch.float32 and id(parameter) in wanted:
                places.setdefault(parameter, []).append((module, name))
    return places


def can_cast(model: nn.Module) -> bool:
    """Whether a model can do without autocast: a base all in bfloat16, under methods that compute in its type."""
    handles = [vars(module)[ATTRIBUTE] for module in model.modules() if ATTRIBUTE in vars(module)]
    attachments = [attachment for handle in handles for attachment in handle.attachments.values()]
    methods = {member.method for attachment in attachments for member in attachment.members}
    return frozen_dtype(model) is torch.bfloat16 and all(method_info(method).half for method in methods)


def frozen_dtype(model: nn.Module) -> torch.dtype | None:
    """The type of all frozen weights outside of adapters; None where they are of several types, or there are none."""
    adapters = {id(p) for layer in _tuner_layers(model) for p in _parameters(layer)}
    found = {
        parameter.dtype
        for parameter in model.parameters()
        if parameter.is_floating_point() and not parameter.requires_grad and id(parameter) not in adapters
    }
    return found.pop() if len(found) == 1 else None


def cast(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    """Copies in bfloat16 whose gradients reach the leaves, in float32.

    One kernel for all where a process is alone. Over several processes each copy has a node of its own in the graph:
    gradients are then exchanged while the backward pass goes on, and a leaf that is not used is seen not to be.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return [leaf.to(torch.bfloat16) for leaf in leaves]
    return _Cast.apply(*leaves) if leaves else ()


class _Cast(torch.autograd.Function):
    """One copy over lists of tensors in both directions."""

    @staticmethod
    def forward(ctx: Any, *leaves: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(_converted(leaves, torch.bfloat16))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        found = iter(_converted([gradient for gradient in gradients if gradient is not None], torch.float32))
        return tuple(None if gradient is None else next(found) for gradient in gradients)


def _converted(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    made = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if made:
        torch._foreach_copy_(made, list(tensors))
    return made


def _tuner_layers(model: nn.Module) -> Iterator[BaseTunerLayer]:
    return (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _parameters(layer: BaseTunerLayer, adapters: Sequence[str] | None = None) -> Iterator[nn.Parameter]:
    """The layer's own parameters of the named adapters, or of all."""
    for name in layer.adapter_layer_names:
        container = getattr(layer, name, None)
        for adapter in container if isinstance(container, nn.ModuleDict | nn.ParameterDict) else ():
            if adapters is None or adapter in adapters:
                item = container[adapter]  # type: ignore[index]
                yield from item.parameters() if isinstance(item, nn.Module) else [item]
