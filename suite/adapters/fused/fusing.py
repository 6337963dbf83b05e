"""Which layers of a model get the fused product."""

from __future__ import annotations

from peft.tuners import lora
from torch import nn

from suite.adapters.fused.lora import Linear


def fuse(model: nn.Module) -> None:
    """Let peft's LoRA layers on a model compute the fused product.

    Each becomes an instance of the class of the same name here, as `torch.nn.utils.parametrize` and FSDP do it: unlike
    a forward put on the instance that holds for its copies, its replicas and its pickles as well.
    """
    for layer in model.modules():
        if type(layer) is lora.Linear:
            layer.__class__ = Linear
        elif isinstance(layer, lora.LoraLayer) and type(layer).__module__ == "peft.tuners.lora.bnb":
            from suite.adapters.fused.lora_4bit import fuse_four_bit

            fuse_four_bit(layer)
