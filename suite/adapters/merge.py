"""Folding adapters into the base weights and taking them out again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.carriers.child import ChildLayer
from suite.adapters.carriers.weights import restore, snapshot
from suite.adapters.handle import Member, adapter_layers, base_of, handle_of, public_name
from suite.adapters.nf4 import NF4Linear, is_packed
from suite.adapters.registry import method_info
from suite.errors import InputError, one_line


def merge(model: nn.Module, *, safe: bool = True) -> None:
    """Fold the active adapters into the base weights, in place, innermost first.

    Over a 4-bit base the merged weights are rounded to 4 bits again, which a warning says: the output moves by that.

    Args:
        model: a model with active adapters.
        safe: work on copies and refuse NaN and Inf.

    Raises:
        InputError: a method cannot be merged, a weight is tied to another, or the result is not finite. Nothing is
            merged then.
    """
    handle = handle_of(model)
    for name in handle.active:
        for member in handle.attachments[name].members:
            if reason := _no_merging(model, member):
                raise InputError(f"{member.method} (adapter {name!r}) cannot be merged: {reason}")
    waiting = {name: _waiting(layer) for name, layer in adapter_layers(model)}
    _check_ties(model, [name for name, adapters in waiting.items() if adapters])
    done: list[tuple[BaseTunerLayer, list[str]]] = []
    # A method attached later sits around the earlier ones and acts on their result, so the inside goes first.
    for layer_name, layer in reversed(adapter_layers(model)):
        if not waiting[layer_name]:
            continue
        done.append((layer, list(layer.merged_adapters)))
        try:
            fold(layer, waiting[layer_name], safe=safe)
        except Exception as error:
            for earlier, merged in reversed(done):
                _back(earlier, merged)
            if isinstance(error, (ValueError, RuntimeError)):
                raise InputError(f"{layer_name}: {one_line(error)}") from error
            raise
    if any(is_packed(layer.get_base_layer()) for layer, _ in done):
        warnings.warn(
            "merged into a 4-bit base, whose weights were rounded to 4 bits again: the output has moved by that; "
            "to merge exactly, load the base unquantized",
            stacklevel=2,
        )


def _no_merging(model: nn.Module, member: Member) -> str | None:
    """Why a method's adapter cannot be merged, as its settings say where it is ours; None where it can."""
    for _, layer in adapter_layers(model):
        if isinstance(layer, TunerLayer) and layer.method == member.method and member.adapter in layer.settings:
            return layer.settings[member.adapter].no_merging()
    return None if method_info(member.method).mergeable else "it is no change of the weights"


def _waiting(layer: BaseTunerLayer) -> list[str]:
    return [adapter for adapter in layer.active_adapters if adapter not in layer.merged_adapters]


def _back(layer: BaseTunerLayer, merged: Sequence[str]) -> None:
    """Leave a layer with those adapters merged that were before."""
    if layer.merged_adapters != merged:
        if layer.merged:
            unfold(layer)
        if merged:
            fold(layer, merged)


def _check_ties(model: nn.Module, names: Sequence[str]) -> None:
    """Refuse to change a weight that another module of the model has as well.

    Raises:
        InputError: one of the layers `names` has such a weight.
    """
    brought = {id(part) for _, layer in adapter_layers(model) for part in _brought(layer)}
    owners: dict[int, list[str]] = {}
    for parent, module in model.named_modules():
        for child, part in module._modules.items():  # a module may have several parents, of which one is adapted
            name = public_name(model, f"{parent}.{child}".lstrip("."))
            for tensor in part._parameters.values() if part is not None and id(part) not in brought else ():
                owners.setdefault(id(tensor), []).append(name)
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, ChildLayer):
            continue  # its values are in the model already, and its host's tensor may be its own
        for tensor in layer.get_base_layer()._parameters.values():
            shared = owners.get(id(tensor), []) if tensor is not None else []
            if len(shared) > 1:
                own = public_name(model, name)
                others = ", ".join(other for other in shared if other != own)
                raise InputError(
                    f"{own} cannot be merged, its weight is tied to {others}, which would change with it: untie them "
                    "(a weight of its own, tie_word_embeddings=False) before attaching, or keep the adapter unmerged"
                )


def _brought(layer: BaseTunerLayer) -> Iterator[nn.Module]:
    """The modules that adapters brought along with a layer of theirs."""
    for name, child in layer.named_children():
        if name != "base_layer":
            yield from child.modules()


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of the bare base as merged adapters leave it, by the base's own names.

    Whole modules that the active adapter brings (`modules_to_save`) stand for the originals.
    """
    base = base_of(model)
    named = ((_bare_name(base, key), tensor) for key, tensor in base.state_dict().items())
    return {name: tensor for name, tensor in named if name is not None}


def _bare_name(base: nn.Module, key: str) -> str | None:
    """The name that a tensor has in the base; None for what is an adapter's, or not in use."""
    kept: list[str] = []
    module: Any = base
    parts = iter(key.split("."))
    for part in parts:
        if isinstance(module, BaseTunerLayer) and part != "base_layer":
            return None
        if isinstance(module, AuxiliaryTrainingWrapper):
            brought = [] if module.disable_adapters else [*module.active_adapters]
            if part == "modules_to_save":
                chosen = next(parts)
                if chosen not in brought:
                    return None
                module = module.modules_to_save[chosen]
                continue
            if part == "original_module" and brought:
                return None
        elif not isinstance(module, BaseTunerLayer):
            kept.append(part)
        module = getattr(module, part, None)
    return ".".join(kept)


def unmerge(model: nn.Module) -> None:
    """Take every merged adapter out of the base weights again, outermost first."""
    for _, layer in adapter_layers(model):
        if layer.merged:
            unfold(layer)


def fold(layer: BaseTunerLayer, adapters: Sequence[str], *, safe: bool = False) -> None:
    """Merge adapters of one layer; over a 4-bit weight, into its values, which are then rounded to 4 bits again."""
    base = _packed_base(layer)
    if base is None:
        layer.merge(safe_merge=safe, adapter_names=list(adapters))
    elif isinstance(base, NF4Linear):
        with base.unpacked():
            layer.merge(safe_merge=safe, adapter_names=list(adapters))
    else:
        kept = snapshot(base)
        layer.merge(safe_merge=safe, adapter_names=list(adapters))
        if not hasattr(base, _KEPT):
            setattr(base, _KEPT, kept)


def unfold(layer: BaseTunerLayer) -> None:
    """Take all merged adapters out of one layer; a 4-bit weight comes back to the bit."""
    base = _packed_base(layer)
    if base is None:
        layer.unmerge()
        return
    if isinstance(base, NF4Linear):
        base.repack()
    else:
        restore(base, getattr(base, _KEPT))
        delattr(base, _KEPT)
    layer.merged_adapters.clear()


_KEPT = "_suite_weight_before_merging"


def _packed_base(layer: BaseTunerLayer) -> nn.Module | None:
    """The 4-bit layer under one of peft's layers, which would unmerge it inexactly or not at all; ours know better."""
    base = None if isinstance(layer, TunerLayer) else layer.get_base_layer()
    return base if base is not None and is_packed(base) else None
