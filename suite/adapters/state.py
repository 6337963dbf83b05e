"""The tensors of an adapter and their names: in the model, and in a file that knows no adapter name and no nesting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import (
    BaseTunerLayer,
    _filter_state_dict_by_key_prefixes,
    _get_tuner_state_dict_key_prefixes,
)
from torch import Tensor, nn

from suite.adapters.biases import foreign_biases, only
from suite.adapters.carriers.selected import Selected
from suite.adapters.handle import ATTRIBUTE, Member, adapter_layers, adapters_on, base_of
from suite.adapters.registry import method_info, peft_type_of
from suite.errors import InputError

SEGMENT = "base_layer"
PREFIX = "base_model.model."


def carrier_of(model: nn.Module, member: Member) -> nn.Module:
    """The module that peft's state functions want for this member: the `PeftModel`, or the model injected into."""
    if method_info(member.method).in_place and isinstance(model, PeftModel):
        return base_of(model)
    return model


def saved_state(model: nn.Module, member: Member) -> dict[str, Tensor]:
    """One member's tensors under the names that its file holds: peft's own, free of other methods' nesting."""
    carrier = carrier_of(model, member)
    config = carrier.peft_config[member.adapter]
    # peft would ask the hub about the base, and let its wrapper of the model, which there is not, cut AdaLoRA's ranks.
    with only(model, member.adapter), saying(config, base_model_name_or_path=None, **_cut_by_peft(member)):
        state = get_peft_model_state_dict(carrier, adapter_name=member.adapter)
    prefix = "" if isinstance(carrier, PeftModel) else PREFIX
    foreign = foreign_biases(model, member.adapter)
    named = {_without_foreign_layers(carrier, key, member.adapter): value for key, value in state.items()}
    return {prefix + name: value for name, value in named.items() if name.removeprefix(PREFIX) not in foreign}


def _cut_by_peft(member: Member) -> dict[str, None]:
    return {"rank_pattern": None} if member.method == "adalora" else {}


@contextmanager
def saying(config: Any, **values: Any) -> Iterator[None]:
    """Inside the block these fields of an adapter's config have these values."""
    before = {field: getattr(config, field) for field in values}
    for field, value in values.items():
        setattr(config, field, value)
    try:
        yield
    finally:
        for field, value in before.items():
            setattr(config, field, value)


def load_saved_state(model: nn.Module, member: Member, state: Mapping[str, Tensor], source: str) -> None:
    """Put a file's tensors into the member's place. Nothing is changed unless every name and shape fits.

    Raises:
        InputError: names are missing or unexpected, or a shape differs; the first few are listed.
    """
    carrier = carrier_of(model, member)
    prefix = "" if isinstance(carrier, PeftModel) else PREFIX
    current = saved_state(model, member)
    state = as_named_now(member, state, current)
    compare(current, state, source)
    nested = {}
    for key in _nested_keys(carrier, member):
        nested[prefix + _without_foreign_layers(carrier, key, member.adapter)] = key
    remapped = {nested.get(key, key.removeprefix(prefix)): value for key, value in state.items()}
    if any(tensor.is_meta for tensor in current.values()):  # nothing can be copied into these
        _give_storage(model, member.adapter)
    with only(model, member.adapter), saying(carrier.peft_config[member.adapter], **_cut_by_peft(member)):
        set_peft_model_state_dict(carrier, remapped, adapter_name=member.adapter)


def as_named_now(member: Member, state: Mapping[str, Tensor], current: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under today's names: once, those of inner modules had the name of the adapter among theirs."""
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft_type_of(member.method)]
    modules = "|".join(getattr(getattr(tuner, "tuner_layer_cls", None), "module_names", ()))
    then = re.compile(rf"(.*\.{tuner.prefix}(?:{modules}))\.[^.]+\.(.+)") if modules else None

    def now(key: str) -> str:
        found = then.fullmatch(key) if then is not None and key not in current else None
        named = f"{found[1]}.{found[2]}" if found else key
        return named if named in current else key

    return {now(key): value for key, value in state.items()}


def _give_storage(model: nn.Module, adapter: str) -> None:
    """Put an adapter's tensors on the CPU while the base is on the meta device."""
    for _, layer in adapter_layers(model):
        if adapter in adapters_on(layer):
            for name, child in layer.named_children():
                if name != SEGMENT:
                    child._apply(lambda tensor: with_storage(tensor, "cpu"))
            if isinstance(layer, Selected):
                layer.sync()


def with_storage(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`; from the meta device uninitialised, whole numbers as 0: an index must point somewhere."""
    if not tensor.is_meta:
        return tensor.to(device)
    make = torch.empty_like if tensor.is_floating_point() else torch.zeros_like
    return make(tensor, device=device)


def _nested_keys(carrier: nn.Module, member: Member) -> list[str]:
    config = carrier.peft_config[member.adapter]
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    return [tuner._remove_adapter_name_from_key(key, member.adapter) for key in _layer_keys(carrier, member.adapter)]


def _layer_keys(model: nn.Module, adapter: str) -> list[str]:
    prefixes = _get_tuner_state_dict_key_prefixes(model, adapter_name=adapter)
    return list(_filter_state_dict_by_key_prefixes(model.state_dict(), prefixes))


def adapter_keys(model: nn.Module, member: Member) -> dict[str, str]:
    """Saved name -> name in `model.state_dict()` of a member's tensors in tuner layers."""
    carrier = carrier_of(model, member)
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[carrier.peft_config[member.adapter].peft_type]
    keys = {}
    for key in _layer_keys(carrier, member.adapter):
        plain = tuner._remove_adapter_name_from_key(key, member.adapter)
        keys[_without_foreign_layers(carrier, plain, member.adapter)] = key
    return keys


def compare(current: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Check that two sets of tensors have the same names and shapes, and kinds of numbers.

    Raises:
        InputError: they differ; the first three differences are listed.
    """
    problems = [f"missing {key}" for key in current if key not in given]
    problems += [f"unexpected {key}" for key in given if key not in current]
    problems += [
        f"{key} is {tuple(given[key].shape)}, the model's {tuple(current[key].shape)}"
        for key in current
        if key in given and given[key].shape != current[key].shape
    ]
    problems += [
        f"{key} is {given[key].dtype}, the model's {current[key].dtype}"
        for key in current
        if key in given and given[key].is_floating_point() != current[key].is_floating_point()
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"{source} does not fit the model: {'; '.join(problems[:3])}{more}")


def _without_foreign_layers(model: nn.Module, key: str, adapter: str) -> str:
    """Drop the `base_layer.` segments that come from other adapters' layers around this adapter's own."""
    kept = []
    module: nn.Module | None = model
    for part in key.split("."):
        foreign = isinstance(module, BaseTunerLayer) and part == SEGMENT and adapter not in adapters_on(module)
        if not foreign:
            kept.append(part)
        module = getattr(module, part, None) if module is not None else None
        module = module if isinstance(module, nn.Module) else None
    return ".".join(kept)


def buffer_names(module: nn.Module) -> set[str]:
    """Names of the buffers that trainable, active adapters own (places, masks, statistics), wherever they sit inside.

    Training goes on from them as from the parameters, whether or not it has changed them.
    """
    handles = [vars(child)[ATTRIBUTE] for child in module.modules() if ATTRIBUTE in vars(child)]
    prefixes: set[str] = set()
    for handle in handles:
        for name in handle.active:
            attachment = handle.attachments[name]
            for member in attachment.members if attachment.trainable else []:
                prefixes |= _get_tuner_state_dict_key_prefixes(module, adapter_name=member.adapter)
    return set(_filter_state_dict_by_key_prefixes(dict(module.named_buffers()), prefixes))
