"""Layers whose weights are read without calling them, so that an adapter around them would not act.

A host's source tells which of its layers it never calls (`suite.adapters.called`). Where a host reads a layer's
weight on some of its paths only, `_SOMETIMES` tells when, for those that are known. Not covered: other such hosts, e.g.
Mamba's fused kernels, which read what its plain code calls; weights read through another name or from outside the host.

`nn.MultiheadAttention` reads its output projection always. `nn.TransformerEncoderLayer` reads everything it has in
evaluation, on a fast path that it leaves where a hook is on any of its modules; `nn.TransformerEncoder` prepares that
path for padded batches by a nested tensor, which no layer of ours or peft's computes with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peft.tuners.lora.layer import MultiheadAttention
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from suite.adapters.called import only_read
from suite.adapters.carriers.selected_tensors import SelectedTensors
from suite.adapters.handle import adapters_on
from suite.errors import InputError

# timm's attentions of BEiT, EVA and Swin v2, whose projection has biases for queries and values alone.
_SOMETIMES = {"timm.models.beit", "timm.models.eva", "timm.models.swin_transformer_v2"}
_NESTED = "_suite_use_nested_tensor"


def check_called(model: nn.Module, adapter: str, method: str) -> None:
    """Refuse an adapter on a layer that is never called.

    Raises:
        InputError: the adapter sits on the output projection of an `nn.MultiheadAttention`, or on another layer whose
            host reads its weight instead.
    """
    _check_hosts(model, adapter, method)
    # peft's layer for a whole attention merges before it lets torch read.
    handled = [layer.get_base_layer() for layer in model.modules() if isinstance(layer, MultiheadAttention)]
    for name, attention in model.named_modules():
        if not isinstance(attention, nn.MultiheadAttention) or attention in handled:
            continue
        if any(_around_product(layer, adapter) for layer in attention.out_proj.modules()):
            raise InputError(
                f"{method}: {name}.out_proj is read by its nn.MultiheadAttention and never called, so an adapter on it "
                f"would not act: leave it out of the targets (lora adapts {name} as a whole)"
            )


def _check_hosts(model: nn.Module, adapter: str, method: str) -> None:
    for name, host in model.named_modules():
        if isinstance(host, (BaseTunerLayer, nn.MultiheadAttention)):
            continue
        for child, layer in host.named_children():
            if not any(_around_product(part, adapter) for part in _layers_at(layer)):
                continue
            if child in only_read(host.__class__) or (child == "qkv" and _reads_qkv(host)):
                other = ", or set its qkv_bias_separate to True first" if hasattr(host, "qkv_bias_separate") else ""
                place = f"{name}.{child}" if name else child
                raise InputError(
                    f"{method}: {place} is read by its {type(host).__name__} and not called, so an adapter on it "
                    f"would not act: leave it out of the targets{other}"
                )


def _reads_qkv(host: nn.Module) -> bool:
    known = any(parent.__module__ in _SOMETIMES for parent in type(host).__mro__)
    return known and getattr(host, "q_bias", None) is not None and not getattr(host, "qkv_bias_separate", False)


def _layers_at(layer: nn.Module) -> Iterator[nn.Module]:
    """The adapters' layers around a layer of the base, and those that sit in it."""
    while isinstance(layer, BaseTunerLayer) and hasattr(layer, "base_layer"):
        yield layer
        layer = layer.base_layer
    for inside in layer.children():
        if isinstance(inside, BaseTunerLayer) and not hasattr(inside, "base_layer"):
            yield inside


def _around_product(layer: nn.Module, adapter: str) -> bool:
    """Whether a module holds an adapter that acts when its layer is called; selected tensors are what is read."""
    if not isinstance(layer, BaseTunerLayer) or isinstance(layer, SelectedTensors):
        return False
    return adapter in adapters_on(layer)


def settle_fast_paths(model: nn.Module) -> None:
    """Close torch's fast path in every encoder with an acting adapter, and open it again in the others."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            _settle_layer(module, any(map(_acts, module.modules())))
        elif isinstance(module, nn.TransformerEncoder):
            _settle_encoder(module, any(map(_acts, module.modules())))


def _acts(layer: nn.Module) -> bool:
    """Whether a module is a layer around another, with an adapter that is on."""
    if not isinstance(layer, BaseTunerLayer) or not hasattr(layer, "base_layer") or layer.disable_adapters:
        return False
    return bool(adapters_on(layer).intersection(layer.active_adapters))


def _settle_layer(layer: nn.TransformerEncoderLayer, closed: bool) -> None:
    hooks = layer._forward_pre_hooks
    standing = [key for key, hook in hooks.items() if hook is _stay_off_the_fast_path]
    if closed and not standing:
        layer.register_forward_pre_hook(_stay_off_the_fast_path)
    for key in [] if closed else standing:
        del hooks[key]


def _stay_off_the_fast_path(_module: nn.Module, _args: tuple[Any, ...]) -> None:
    """A hook that does nothing: that it is there is what counts."""


def _settle_encoder(encoder: nn.TransformerEncoder, closed: bool) -> None:
    if closed and not hasattr(encoder, _NESTED):
        setattr(encoder, _NESTED, encoder.use_nested_tensor)
        encoder.use_nested_tensor = False
    elif not closed and hasattr(encoder, _NESTED):
        encoder.use_nested_tensor = getattr(encoder, _NESTED)
        delattr(encoder, _NESTED)
