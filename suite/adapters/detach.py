"""Taking adapters off a model, so that it is again what it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from suite.adapters import biases
from suite.adapters.bypass import settle_fast_paths
from suite.adapters.carriers.child import ChildLayer
from suite.adapters.context import disable_checkpointing
from suite.adapters.handle import (
    ATTRIBUTE,
    Attachment,
    Handle,
    adapter_layers,
    adapters_on,
    auxiliary_layers,
    base_of,
    check_unmerged,
    handle_of,
)
from suite.adapters.registry import method_info
from suite.adapters.switching import apply_active
from suite.adapters.wrapper import forget, wrapped_members


def detach(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take adapters off: the one called `name`, or all of them.

    Returns:
        The model to use from here on; with no adapter left, the base model as it was before the first `attach`
        (parameters stay frozen as they are).
    """
    handle, base = handle_of(model), base_of(model)
    for attachment in [handle.attachment(name)] if name is not None else list(handle.attachments.values()):
        check_unmerged(model, "detaching", {member.adapter for member in attachment.members})
        remove(model, attachment)
        handle.active = [other for other in handle.active if other != attachment.name]
    if handle.attachments:
        result = model if wrapped_members(handle) else base
        apply_active(result)
        return result
    disable_checkpointing(base)
    delattr(base, ATTRIBUTE)
    if hasattr(base, "_hf_peft_config_loaded"):
        base._hf_peft_config_loaded = False
    return base


def remove(model: nn.Module, attachment: Attachment) -> None:
    """Take an attachment's tensors off every layer, and layers that then hold nothing off the model."""
    adapters = {member.adapter for member in attachment.members}
    base = base_of(model)
    handle: Handle = getattr(base, ATTRIBUTE)
    handle.found.clear()
    staying = {member.adapter for other in handle.attachments.values() for member in other.members} - adapters
    _leave_layers(base, adapters, staying)
    for name, auxiliary in reversed([*base.named_modules()]):
        if isinstance(auxiliary, AuxiliaryTrainingWrapper):
            _leave_auxiliary(base, name, auxiliary, adapters)
    _leave_biases(model, handle, adapters)
    if isinstance(model, PeftModel):
        for member in attachment.members:
            if not method_info(member.method).in_place:
                forget(model, member)
    _forget_configs(base, adapters)
    handle.attachments.pop(attachment.name, None)
    settle_fast_paths(base)


@contextmanager
def _deleting() -> Iterator[None]:
    """Quiet peft, which warns where what is deleted was active: what was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Adapter .* was active which is now deleted")
        yield


def _leave_layers(base: nn.Module, adapters: set[str], staying: set[str]) -> None:
    """Take adapters off all layers, innermost first, and layers off the model where none of the staying ones is on."""
    inside = {id(getattr(auxiliary, "token_adapter", None)) for auxiliary in auxiliary_layers(base)}
    for name, layer in reversed(adapter_layers(base)):
        if id(layer) in inside:  # goes with its wrapper
            continue
        with _deleting():
            for adapter in adapters & adapters_on(layer):
                layer.delete_adapter(adapter)
        if not adapters_on(layer) & staying:
            _unwrap(base, name, layer)


def _leave_biases(model: nn.Module, handle: Handle, adapters: set[str]) -> None:
    """Put the base's biases back where an adapter had its own, and those of the others that act on."""
    biases.switch(model, [adapter for adapter, taken in handle.biases.items() if taken.on and adapter not in adapters])
    for adapter in adapters:
        handle.biases.pop(adapter, None)


def _forget_configs(base: nn.Module, adapters: set[str]) -> None:
    configs = getattr(base, "peft_config", {})
    for adapter in adapters:
        configs.pop(adapter, None)
    if not configs and hasattr(base, "peft_config"):
        del base.peft_config


def _leave_auxiliary(model: nn.Module, name: str, auxiliary: Any, adapters: set[str]) -> None:
    """Take adapters off one of peft's wrappers of whole modules or tokens, and the wrapper where it is then empty."""
    with _deleting():
        for adapter in adapters & set(auxiliary._adapters):
            auxiliary.delete_adapter(adapter, new_active_adapters=None)
    if not auxiliary._adapters:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, auxiliary.original_module)


def _unwrap(model: nn.Module, name: str, layer: nn.Module) -> None:
    if isinstance(layer, ChildLayer):
        layer.uninstall()
        return
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, child, layer.base_layer)
