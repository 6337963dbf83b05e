"""One view of every layer that has a weight: (out, in, ...) in float32, whatever the layer stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from suite.adapters.nf4 import NF4Linear
from suite.adapters.registry import method_of

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PLAIN = ("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "BatchNorm")
"""The layer types, as `kind_of` names them, whose weight and bias methods train in place."""


def kind_of(layer: nn.Module) -> str | None:
    """The name under which methods declare a layer type, or None for a type that no method adapts."""
    if isinstance(layer, nn.modules.linear.NonDynamicallyQuantizableLinear):
        return None  # nn.MultiheadAttention reads this weight without calling the layer
    if isinstance(layer, nn.Linear) and hasattr(getattr(layer, "weight", None), "quant_state"):
        return "Linear4bit"
    if isinstance(layer, NF4Linear):
        return "Linear4bit"
    if isinstance(layer, nn.Linear):
        return "Linear"
    if isinstance(layer, Conv1D):
        return "Conv1D"
    if isinstance(layer, nn.Embedding):
        # A subclass that scales what it looks up (Gemma's) is more than its weight.
        return "Embedding" if type(layer).forward is nn.Embedding.forward else None
    for kind in (*CONVS, nn.LayerNorm, nn.GroupNorm):
        if isinstance(layer, kind):
            return kind.__name__
    return "BatchNorm" if isinstance(layer, nn.modules.batchnorm._BatchNorm) else None


def has_plain_weight(layer: nn.Module) -> bool:
    """Whether the layer is of a type in `PLAIN` and has a weight that is not packed."""
    weight = getattr(layer, "weight", None)
    return kind_of(layer) in PLAIN and isinstance(weight, nn.Parameter) and weight.is_floating_point()


def sizes(layer: nn.Module) -> tuple[int, int]:
    """(in, out) features or channels of a layer that `kind_of` knows."""
    if isinstance(layer, CONVS):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, Conv1D):
        return layer.weight.shape[0], layer.weight.shape[1]
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1], layer.normalized_shape[-1]
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels, layer.num_channels
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return layer.num_features, layer.num_features
    return layer.in_features, layer.out_features


def channel_axis(layer: nn.Module) -> int:
    """The axis of the output that holds the channels; decided by layer type, never by matching sizes."""
    if isinstance(layer, (*CONVS, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)):
        return 1
    return 1 if isinstance(layer, nn.LayerNorm) and type(layer).__name__.endswith("2d") else -1


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer stores its weight as (in, out)."""
    return isinstance(layer, (Conv1D, nn.Embedding))


def read_weight(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float32 (float64 of a float64 layer), the weight as (out, in, ...), without gradients.

    A norm without an affine part reads as 1 and 0.
    """
    weight, bias = weight_and_bias(layer)
    return weight.detach(), None if bias is None else bias.detach()


def weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """What `read_weight` gives, with gradients to parameters that train."""
    bias = getattr(layer, "bias", None)
    if isinstance(layer, NF4Linear):
        return layer.dequantize().float(), None if bias is None else _wide(bias)
    weight = getattr(layer, "weight", None)
    if weight is None:
        reference = next(layer.buffers(), torch.empty(0))
        weight = torch.ones(sizes(layer)[1], device=reference.device)
    elif hasattr(weight, "quant_state"):
        from peft.utils.integrations import dequantize_bnb_weight

        weight = dequantize_bnb_weight(weight, state=weight.quant_state)
    weight = _wide(weight)
    return (weight.T if is_transposed(layer) else weight), None if bias is None else _wide(bias)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def write_weight(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Store what `read_weight` gave, changed, in the layer's own dtype and layout; missing parts are created."""
    if isinstance(layer, NF4Linear):
        layer.requantize(weight)
    elif hasattr(getattr(layer, "weight", None), "quant_state"):
        _requantize_bnb(layer, weight)
    else:
        _put(layer, "weight", weight.T if is_transposed(layer) else weight)
    if bias is not None:
        _put(layer, "bias", bias)


def _put(layer: nn.Module, name: str, value: Tensor) -> None:
    stored = getattr(layer, name, None)
    if stored is None:
        reference = getattr(layer, "weight", None)
        dtype = value.dtype if reference is None else bias_dtype(layer)
        setattr(layer, name, nn.Parameter(value.to(dtype), requires_grad=False))
        return
    with torch.no_grad():
        stored.data.copy_(value)


def _requantize_bnb(layer: nn.Module, weight: Tensor) -> None:
    from bitsandbytes.nn import Params4bit

    old = layer.weight
    kind = {name: getattr(old, name) for name in ("quant_type", "compress_statistics", "blocksize", "quant_storage")}
    layer.weight = Params4bit(weight.to(old.quant_state.dtype), requires_grad=False, **kind).to(old.device)


def snapshot(layer: nn.Module) -> dict[str, object]:
    """Everything a merge may change, copied, so that `restore` is exact to the bit."""
    if isinstance(layer, NF4Linear):
        return {"packed": layer.packed_state(), "bias": _copy(layer.bias)}
    weight = getattr(layer, "weight", None)
    if hasattr(weight, "quant_state"):
        return {"parameter": weight, "bias": _copy(layer.bias)}
    return {"weight": _copy(weight), "bias": _copy(getattr(layer, "bias", None))}


def restore(layer: nn.Module, kept: dict[str, object]) -> None:
    """Undo `write_weight`."""
    if "packed" in kept:
        layer.load_packed_state(kept["packed"])
    if "parameter" in kept:
        layer.weight = kept["parameter"]
        layer.weight.bnb_quantized = True  # peft's own merging unsets it, and moving would then pack the codes again
    for name in ("weight", "bias"):
        if name not in kept or not hasattr(layer, name):
            continue
        value = kept[name]
        if value is None:
            setattr(layer, name, None)
        else:
            with torch.no_grad():
                getattr(layer, name).data.copy_(value)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def run(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's own operation with another weight, (out, in, ...), and bias.

    Raises:
        ValueError: the layer's operation needs more than its weight (BatchNorm statistics).
    """
    if isinstance(layer, nn.Embedding):
        return functional.embedding(
            x, weight.T.to(layer.weight.dtype), layer.padding_idx, layer.max_norm, layer.norm_type
        )
    weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if isinstance(layer, CONVS):
        return layer._conv_forward(x, weight, bias)
    if isinstance(layer, nn.LayerNorm) and channel_axis(layer) == -1:
        return functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    if kind_of(layer) in ("Linear", "Conv1D", "Linear4bit"):
        return functional.linear(x, weight, bias)
    raise ValueError(f"{type(layer).__name__}: a changed weight cannot be applied live")


def bias_dtype(layer: nn.Module) -> torch.dtype:
    """The dtype that a bias of the layer has: its weight's, or for packed weights that of its products."""
    weight = layer.weight
    return weight.dtype if weight.is_floating_point() else getattr(layer, "compute_dtype", None) or torch.float32


def effective_weight(layer: nn.Module, rows: Sequence[Any] | None = None) -> tuple[Tensor, Tensor | None]:
    """The weight and bias that a layer computes with, adapters on it included.

    Args:
        layer: a layer with a weight, or a tuner layer around one.
        rows: the adapters of every row of the batch, which are the same for all of them; None for the active ones.

    Raises:
        ValueError: what a layer below computes is no other weight, or none that it tells.
    """
    if not isinstance(layer, BaseTunerLayer):
        inside = [child for child in layer.children() if hasattr(child, "placed")]
        for child in inside:
            child.refresh()  # nobody calls the layer, which would see to it
        weight, bias = weight_and_bias(layer)
        for child in inside:
            weight, bias = child.placed(weight, rows), child.placed_bias(bias, rows)
        return weight, bias
    weight, bias = effective_weight(layer.base_layer, rows)
    if layer.disable_adapters or layer.merged:
        return weight, bias
    for adapter in _acting(layer, rows):
        if hasattr(layer, "changed"):
            weight, bias = layer.changed(weight, bias, adapter)
        elif _is_additive(layer, adapter):
            weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
        else:
            return _probed(layer, weight.dtype)
    return weight, bias


def _probed(layer: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The weight and bias of one of peft's linear layers, whatever its method does, from its answers to unit vectors.

    Raises:
        ValueError: the layer is not linear.
    """
    base = layer.get_base_layer()
    if kind_of(base) not in ("Linear", "Conv1D", "Linear4bit"):
        raise ValueError(f"{type(layer).__module__}.{type(layer).__name__} inside it tells no weight of its own")
    size = sizes(base)[0]
    units = torch.eye(size + 1, size, dtype=bias_dtype(base), device=base.weight.device)  # the last one is zero
    modes = [(module, module.training) for module in layer.modules()]
    layer.eval()  # dropout of unit vectors would be no weight
    try:
        answers = layer(units).to(dtype)
    finally:
        for module, mode in modes:
            module.training = mode
    return (answers[:-1] - answers[-1]).T, answers[-1]


def _acting(layer: Any, rows: Sequence[Any] | None) -> list[str]:
    if hasattr(layer, "changed"):
        chosen: list[str] = layer.present() if rows is None else layer.present_in(rows[0])
        return chosen
    here = layer._get_available_adapters()
    names = layer.active_adapters if rows is None else [rows[0]] if isinstance(rows[0], str) else rows[0]
    return [adapter for adapter in names if adapter in here]


def _is_additive(layer: nn.Module, adapter: str) -> bool:
    """Whether what an adapter of one of peft's layers does to the weight is to add `get_delta_weight`."""
    info = method_of(layer)
    variant = getattr(layer, "lora_variant", {}).get(adapter)  # DoRA's norm is of the sum, KaSA knows its own delta
    return info is not None and info.additive and (variant is None or hasattr(variant, "get_delta_weight"))
