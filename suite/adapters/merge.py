"""Folding adapters into the base weights and taking them out again."""

from __future__ import annotations

from collections.abc import Sequence

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.carriers.weights import restore, snapshot
from suite.adapters.handle import adapter_layers, handle_of
from suite.adapters.nf4 import NF4Linear, is_packed
from suite.adapters.registry import method_info, one_line
from suite.errors import InputError


def merge(model: nn.Module, *, safe: bool = True) -> None:
    """Fold the active adapters into the base weights, in place, innermost first.

    Args:
        model: a model with active adapters.
        safe: work on copies and refuse NaN and Inf.

    Raises:
        InputError: a method cannot be merged, or the result is not finite.
    """
    handle = handle_of(model)
    for name in handle.active:
        for member in handle.attachments[name].members:
            if not method_info(member.method).mergeable:
                raise InputError(f"{member.method} (adapter {name!r}) cannot be merged: it is no change of the weights")
    done: list[BaseTunerLayer] = []
    # A method attached later sits around the earlier ones and acts on their result, so the inside goes first.
    for layer_name, layer in reversed(adapter_layers(model)):
        waiting = [adapter for adapter in layer.active_adapters if adapter not in layer.merged_adapters]
        if not waiting:
            continue
        try:
            fold(layer, waiting, safe=safe)
        except (ValueError, NotImplementedError) as error:
            for earlier in reversed(done):
                unfold(earlier)
            raise InputError(f"{layer_name}: {one_line(error)}") from error
        done.append(layer)


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
