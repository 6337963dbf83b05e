"""Methods that peft keeps in a `PeftModel` around the model: prompts, shared state, exchanged modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft import PeftModel

from suite.adapters.handle import Handle, Member
from suite.adapters.registry import method_info, method_name

PATCHED = ("forward", "prepare_inputs_for_generation")


def wrapped_members(handle: Handle) -> list[tuple[str, Member]]:
    """The members that live in a wrapper, each with its attachment's name."""
    return [
        (attachment.name, member)
        for attachment in handle.attachments.values()
        for member in attachment.members
        if not method_info(member.method).in_place
    ]


def switch_wrapper(model: PeftModel, handle: Handle) -> None:
    """Make the wrapper use the active attachment's adapter, or pass everything through."""
    members = wrapped_members(handle)
    active = [(handle.attachments[name], member) for name, member in members if name in handle.active]
    _pass_through(model, False)
    if not active:
        _pass_through(model, True)
        return
    attachment, member = active[-1]
    exchanged = method_info(member.method).exchanges
    if exchanged:
        model.set_adapter(member.adapter)
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2].startswith(exchanged):
                parameter.requires_grad_(attachment.trainable)
    else:
        model.set_adapter(member.adapter, inference_mode=not attachment.trainable)
    for name, encoder in getattr(model, "prompt_encoder", {}).items():
        encoder.requires_grad_(attachment.trainable and name == member.adapter)


def _pass_through(model: PeftModel, on: bool) -> None:
    """Switch a wrapper of prompts or of exchanged modules off or on; other wrappers are switched layer by layer."""
    if model._is_prompt_learning:
        for name in PATCHED:
            model.__dict__.pop(name, None)
            if on and hasattr(model.base_model, name):
                setattr(model, name, getattr(model.base_model, name))
        model._adapters_disabled = on
    elif _exchanges(model) and model._adapters_disabled != on:
        (model.base_model.disable_adapter_layers if on else model.base_model.enable_adapter_layers)()
        model._adapters_disabled = on


def _exchanges(model: PeftModel) -> bool:
    return bool(method_info(method_name(model.peft_type)).exchanges)


@contextmanager
def wrapper_disabled(model: PeftModel, handle: Handle) -> Iterator[None]:
    """The wrapper passes everything through inside the block."""
    _pass_through(model, True)
    try:
        yield
    finally:
        switch_wrapper(model, handle)


def forget(model: PeftModel, member: Member) -> None:
    """Drop a wrapped member's own state."""
    if model._is_prompt_learning:
        _pass_through(model, True)
        model.prompt_encoder.pop(member.adapter)
        model._peft_config.pop(member.adapter, None)
    elif _exchanges(model):
        _pass_through(model, True)
