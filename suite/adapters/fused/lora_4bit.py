"""peft's LoRA layer over bitsandbytes' 4-bit layers. Imported where a model has one: it needs bitsandbytes."""

from __future__ import annotations

from peft.tuners.lora import bnb
from torch import nn

from suite.adapters.fused.lora import FusedForward


class Linear4bit(FusedForward, bnb.Linear4bit):
    """peft's `lora.Linear4bit`: the 4-bit layer multiplies by itself, the low-rank part is added in one product."""


def fuse_four_bit(layer: nn.Module) -> None:
    """Let a 4-bit layer of peft's add its low-rank part in one product; others stay as they are."""
    if type(layer) is bnb.Linear4bit:
        layer.__class__ = Linear4bit
