"""Exchanging an attached adapter's tensors for another file's, in place, so that compiled graphs stay valid."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path

from peft import PeftConfig
from peft.utils.other import get_pattern_key
from torch import nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.foreign import tame
from suite.adapters.handle import Member, adapter_layers, adapters_on, check_unmerged, handle_of, public_name
from suite.adapters.registry import method_info, method_name
from suite.adapters.state import as_named_now, carrier_of, compare, load_saved_state, saved_state
from suite.adapters.storage import check_base, member_parts, read_config, read_weights
from suite.adapters.ties import tie
from suite.errors import InputError
from suite.manifest import CONFIG, read_manifest

# Where an adapter belongs and how it began; what its tensors fit is compared by name and shape.
PLACES = {"exclude_modules", "init_lora_weights", "init_weights", "rank_pattern", "target_modules"}


def swap(
    model: nn.Module, folder: str | os.PathLike[str], *, name: str | None = None, strict_base: bool | None = None
) -> None:
    """Put the tensors of the adapter in `folder` in the place of an attached one, in place.

    Args:
        model: a model with an adapter of the same methods and shapes.
        folder: an adapter that `save` or peft wrote.
        name: which attached adapter; the active one by default.
        strict_base: as for `load`.

    Raises:
        InputError: the adapter is merged, or methods, settings, names or shapes differ. The old one stays then.
    """
    folder = Path(folder)
    attachment = handle_of(model).attachment(name)
    check_unmerged(model, "swapping", {member.adapter for member in attachment.members})
    manifest = read_manifest(folder)
    check_base(model, manifest, folder, strict_base)
    parts = member_parts(folder, manifest)
    configs = [_tamed(read_config(part), model, part) for part in parts]
    states = [read_weights(part) for part in parts]
    if len(parts) != len(attachment.members):
        raise InputError(f"{folder} holds {len(parts)} methods, adapter {attachment.name!r} {len(attachment.members)}")
    for member, (as_written, config), state, part in zip(attachment.members, configs, states, parts, strict=True):
        _check_config(carrier_of(model, member).peft_config[member.adapter], as_written, config, part)
        current = saved_state(model, member)
        compare(current, as_named_now(member, state, current), str(part))
    for member, (_, config), state, part in zip(attachment.members, configs, states, parts, strict=True):
        _take_settings(model, member, config)
        load_saved_state(model, member, state, str(part))
    tie(model, attachment)


def _tamed(config: PeftConfig, model: nn.Module, part: Path) -> tuple[PeftConfig, PeftConfig]:
    """A folder's config as it is written, and as it is taken."""
    tamed = copy.copy(config)
    tame(tamed, model, str(part / CONFIG))
    return config, tamed


def _check_config(current: PeftConfig, as_written: PeftConfig, given: PeftConfig, part: Path) -> None:
    """Compare with the attached config, whose patterns may have been replaced when it was loaded, or not."""
    if type(current) is not type(given):
        raise InputError(f"{part} is of method {given.peft_type}, the attached adapter of {current.peft_type}")
    bookkeeping = {field.name for field in dataclasses.fields(PeftConfig)}
    free = PLACES | bookkeeping | set(method_info(method_name(current.peft_type)).live)
    for field in dataclasses.fields(current):
        if {"live", "strength", "planned"} & {key for key, said in field.metadata.items() if said}:
            continue
        if field.name in free:
            continue
        old, new = getattr(current, field.name), getattr(as_written, field.name)
        if old not in (new, getattr(given, field.name)):
            raise InputError(f"{part}: {field.name} is {new!r}, the attached adapter's is {old!r}: load it instead")


def _take_settings(model: nn.Module, member: Member, config: PeftConfig) -> None:
    """Numbers that a forward reads from the config, not from a tensor."""
    carrier = carrier_of(model, member)
    config.inference_mode = carrier.peft_config[member.adapter].inference_mode
    carrier.peft_config[member.adapter] = config
    for name, layer in adapter_layers(model):
        if member.adapter not in adapters_on(layer):
            continue
        if isinstance(layer, TunerLayer):
            layer.settings[member.adapter] = config
        elif hasattr(config, "lora_alpha") and member.adapter in getattr(layer, "scaling", {}):
            rank = layer.r[member.adapter]
            pattern = config.alpha_pattern or {}
            alpha = pattern.get(get_pattern_key(pattern.keys(), public_name(model, name)), config.lora_alpha)
            layer.lora_alpha[member.adapter] = alpha
            layer.scaling[member.adapter] = alpha / (rank**0.5 if config.use_rslora else rank)
