"""Folding adapters into the base weights and taking them out again."""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from suite.adapters.handle import adapter_layers, handle_of
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
            layer.merge(safe_merge=safe, adapter_names=waiting)
        except (ValueError, NotImplementedError) as error:
            for earlier in reversed(done):
                earlier.unmerge()
            raise InputError(f"{layer_name}: {one_line(error)}") from error
        done.append(layer)


def unmerge(model: nn.Module) -> None:
    """Take every merged adapter out of the base weights again, outermost first."""
    for _, layer in adapter_layers(model):
        if layer.merged:
            layer.unmerge()
