"""Which of a model's adapters act in the forward, and the bare base in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from peft import PeftModel
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from suite.adapters import biases
from suite.adapters.bypass import settle_fast_paths
from suite.adapters.carriers.base import TunerLayer
from suite.adapters.carriers.selected_entries import SelectedEntries
from suite.adapters.handle import (
    ATTRIBUTE,
    adapter_layers,
    adapters_on,
    auxiliary_layers,
    check_unmerged,
    handle_of,
    remembered,
)
from suite.adapters.merge import fold, unfold
from suite.adapters.wrapper import switch_wrapper, wrapped_members, wrapper_disabled
from suite.errors import InputError


def attached(model: nn.Module) -> list[str]:
    """Names of the adapters on the model, in the order in which they were attached."""
    handle = getattr(model, ATTRIBUTE, None)
    return list(handle.attachments) if handle else []


def active(model: nn.Module) -> list[str]:
    """Names of the adapters that take part in the forward."""
    handle = getattr(model, ATTRIBUTE, None)
    return list(handle.active) if handle else []


def activate(model: nn.Module, *names: str, trainable: bool | None = None) -> None:
    """Switch to the adapters `names`; several act together, in the order in which they were attached.

    Args:
        model: a model with adapters.
        names: attachments to switch on; all others are switched off and frozen. None at all: the bare base.
        trainable: whether they train; None keeps what they were attached or loaded with.

    Raises:
        InputError: there is no such adapter, an adapter is merged, or two of them own the same module or tensor.
            What was active stays so.
    """
    handle = handle_of(model)
    chosen = [handle.attachment(name) for name in names]
    check_unmerged(model, "switching")
    active = [attachment.name for attachment in handle.attachments.values() if attachment in chosen]
    _check_owners(model, handle.active_adapters(active))
    previous, flags = handle.active, [attachment.trainable for attachment in chosen]
    for attachment in chosen:
        attachment.trainable = attachment.trainable if trainable is None else trainable
    handle.active = active
    try:
        apply_active(model)
    except InputError:
        handle.active = previous
        for attachment, flag in zip(chosen, flags, strict=True):
            attachment.trainable = flag
        apply_active(model)
        raise


def _check_owners(model: nn.Module, order: Sequence[str]) -> None:
    """Refuse two adapters that would each put a module of its own into the same place."""
    for name, auxiliary in model.named_modules():
        if isinstance(auxiliary, AuxiliaryTrainingWrapper):
            owners = [adapter for adapter in order if adapter in auxiliary._adapters]
            if len(owners) > 1:
                raise InputError(f"{name} is owned by {owners}, only one of them can be active")


def apply_active(model: nn.Module) -> None:
    """Make every layer's active adapters and gradient flags agree with the handle."""
    handle = handle_of(model)
    handle.found.clear()
    order = handle.active_adapters()
    frozen = {
        member.adapter
        for attachment in handle.attachments.values()
        if not attachment.trainable
        for member in attachment.members
    }
    if isinstance(model, PeftModel) and wrapped_members(handle):
        switch_wrapper(model, handle)
    for _, layer in adapter_layers(model):
        here = adapters_on(layer)
        if isinstance(layer, TunerLayer):
            layer.context = handle.context
        layer.set_adapter([adapter for adapter in order if adapter in here])
        layer.set_requires_grad([adapter for adapter in here & frozen], False)
        _freeze_kept(layer)
    for auxiliary in auxiliary_layers(model):
        _activate_auxiliary(auxiliary, order, frozen)
    settle_fast_paths(model)
    biases.switch(model, order)
    for adapter in handle.biases:
        for parameter in biases.parameters(model, adapter).values():
            parameter.requires_grad_(adapter in order and adapter not in frozen)


def _freeze_kept(layer: Any) -> None:
    """Freeze what a layer only keeps: moving it to the base's device, peft makes trained parameters of it (AdaLoRA)."""
    for container in (getattr(layer, name, None) for name in layer.other_param_names):
        if isinstance(container, nn.ParameterDict):
            container.requires_grad_(False)


def _activate_auxiliary(auxiliary: Any, order: Sequence[str], frozen: set[str]) -> None:
    here = [adapter for adapter in order if adapter in auxiliary._adapters]
    auxiliary.enable_adapters(bool(here))
    if here:
        auxiliary.set_adapter(here[-1:], inference_mode=here[-1] in frozen)


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """The bare base model inside the block; what was active, merged or trainable before is so again after it."""
    layers: list[Any] = [layer for _, layer in adapter_layers(model)]
    layers += auxiliary_layers(model)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    merged = [(layer, list(layer.merged_adapters)) for _, layer in adapter_layers(model) if layer.merged]
    for layer, _ in merged:
        unfold(layer)
    for layer in layers:
        layer.enable_adapters(False)
    settle_fast_paths(model)
    handle = getattr(model, ATTRIBUTE, None)
    on = [adapter for adapter, taken in handle.biases.items() if taken.on] if handle else []
    if on:
        biases.switch(model, [])
    bare: AbstractContextManager[None] = nullcontext()
    if handle is not None and isinstance(model, PeftModel) and wrapped_members(handle):
        bare = wrapper_disabled(model, handle)
    try:
        with bare:
            yield model
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        settle_fast_paths(model)
        for layer, names in reversed(merged):
            fold(layer, names)
        if on:
            biases.switch(model, on)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def refresh(model: nn.Module) -> None:
    """Write selected values that an optimizer step changed into the base.

    Forwards do so themselves unless they are compiled: then this comes before the forward that follows a change.
    """
    for layer in remembered(model, "selected entries", lambda module: isinstance(module, SelectedEntries)):
        layer.refresh()
