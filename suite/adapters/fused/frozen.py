"""When the product of a frozen layer may be computed here instead of by the layer, and in which dtype."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_bare(module: nn.Module) -> bool:
    """Whether calling a module runs its class's forward, and nothing sees or changes the call: no hook, no child of a
    method that sits in its host, no forward put in the place of its own (accelerate's offloading)."""
    if "forward" in vars(module) or module._modules or _has_any_global_hook():
        return False
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return not any(hooks)


def is_plain_linear(layer: nn.Module) -> bool:
    """Whether calling the layer is `F.linear` with its weight and bias.

    Not so for a class of its own (sharded, parametrized or quantized layers) and weights that are tensors of another
    kind (DTensor).
    """
    return type(layer) is nn.Linear and is_bare(layer) and not is_traceable_wrapper_subclass(layer.weight)


def is_frozen_linear(layer: nn.Module) -> bool:
    """Whether the layer is plain and neither its weight nor its bias trains."""
    if not is_plain_linear(layer) or layer.weight.requires_grad:
        return False
    return layer.bias is None or not layer.bias.requires_grad


def is_plain_tensor(x: Tensor) -> bool:
    """Whether `x` is an ordinary dense tensor of floating-point vectors, (..., features)."""
    return (
        isinstance(x, Tensor)
        and x.dtype in FLOATS
        and x.dim() > 0
        and x.layout is torch.strided
        and not is_traceable_wrapper_subclass(x)
    )


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype to which autocast brings the factors of a product with `x`; None where it leaves them alone."""
    device = x.device.type
    # Autocast never touches float64.
    if x.dtype is torch.float64 or not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def multiplies(x: Tensor, weight: Tensor) -> bool:
    """Whether torch itself would multiply the two."""
    return x.dtype == weight.dtype or (autocast_dtype(x) is not None and weight.dtype is not torch.float64)


def is_raised(x: Tensor, weight: Tensor) -> bool:
    """Whether an adapter's float32 weight meets a bfloat16 x, which a plain forward would raise to float32.

    The weight is rounded to bfloat16 instead, which costs nothing and gives the same to one rounding. In float16 that
    could overflow where the other does not.
    """
    return weight.dtype is torch.float32 and x.dtype is torch.bfloat16


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off inside the block: a backward inside an autocast region keeps its forward's dtype."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def is_transformed() -> bool:
    """Whether something traces or transforms the operations, which then must be torch's own and out of place.

    A compiler fuses plain operations by itself, and chooses what to keep for the backward better than an autograd
    function that it has to take as one piece; vmap, jvp and TorchScript cannot see into such a function at all.
    """
    if torch.compiler.is_compiling():
        return True
    return torch.jit.is_tracing() or torch._C._are_functorch_transforms_active() or _forward_mode()


def _forward_mode() -> bool:
    return torch.autograd.forward_ad._current_level >= 0
