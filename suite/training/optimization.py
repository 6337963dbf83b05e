"""Parameter groups, the optimiser and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from suite.errors import InputError
from suite.training.choices import Capability, fused
from suite.training.settings import TrainerConfig

SMALLEST_OF_PRODIGY = 0.05
"""A smaller factor of Prodigy's rate is a learning rate meant for another optimiser."""


def parameter_groups(module: nn.Module, config: TrainerConfig) -> list[dict[str, Any]]:
    """The trainable parameters, grouped by weight decay and, with LoRA+, by learning rate.

    Tensors of fewer than two dimensions (biases, norms, scales) do not decay. LoRA+ (Hayou et al. 2024, section 5)
    gives the B matrices `lora_plus_ratio` times the learning rate.

    Raises:
        InputError: nothing is trainable, or LoRA+ finds no B matrix.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            faster = config.lora_plus_ratio is not None and ("lora_B" in name or "lora_embedding_B" in name)
            groups.setdefault((parameter.ndim >= 2, faster), []).append(parameter)
    if not groups:
        raise InputError("the recipe has no trainable parameter; attach an adapter in build(), or name what to train")
    if config.lora_plus_ratio is not None and not any(faster for _, faster in groups):
        raise InputError("trainer.lora_plus_ratio is set and the model has no LoRA B matrix; remove it or use lora")
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decays else 0.0,
            "lr": config.lr * (config.lora_plus_ratio or 1.0) if faster else config.lr,
        }
        for (decays, faster), parameters in groups.items()
    ]


def build_optimizer(groups: list[dict[str, Any]], config: TrainerConfig, device: Capability | None = None) -> Optimizer:
    """The optimiser that the configuration names, fused on CUDA.

    Raises:
        InputError: it is of a package that is not installed, or the groups' rates do not go with it.
    """
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.lr)
    if config.optimizer == "adamw8bit":
        return _adamw8bit(groups, config.lr)
    if config.optimizer == "prodigy":
        return _prodigy(groups, config.lr)
    device = device or Capability.here(config.accelerator)
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused(config, device))


def _adamw8bit(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            "trainer.optimizer adamw8bit needs bitsandbytes; pip install 'peft-suite[quantization]', or take adamw"
        ) from error
    optimizer: Optimizer = AdamW8bit(groups, lr=lr)
    return optimizer


def _prodigy(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """Prodigy (Mishchenko and Defazio, arXiv 2306.06101) with the options that its authors advise for diffusion."""
    try:
        from prodigyopt import Prodigy
    except ImportError as error:
        raise InputError(
            "trainer.optimizer prodigy needs prodigyopt; pip install 'peft-suite[prodigy]', or take adamw"
        ) from error
    rates = sorted({group["lr"] for group in groups})
    if len(rates) > 1:
        raise InputError(
            f"trainer.optimizer prodigy finds one rate for all parameters; groups have {', '.join(map(str, rates))}: "
            "leave out what gives some a rate of their own (lora_plus_ratio, text_lr), or take adamw"
        )
    if lr < SMALLEST_OF_PRODIGY:
        raise InputError(
            f"trainer.lr is {lr}: prodigy finds the rate itself and takes lr as a factor of it; set trainer.lr: 1.0"
        )
    optimizer: Optimizer = Prodigy(groups, lr=lr, use_bias_correction=True, safeguard_warmup=True)
    return optimizer


def build_scheduler(optimizer: Optimizer, config: TrainerConfig, steps: int) -> LambdaLR:
    """Warm-up, then the configured shape, per optimiser step.

    Args:
        optimizer: what it drives.
        config: `scheduler` and `warmup`.
        steps: optimiser steps of the whole run.
    """
    warmup = round(config.warmup * steps) if config.warmup < 1 else int(config.warmup)
    return LambdaLR(optimizer, lr_factor(config.scheduler, warmup, steps))


def lr_factor(shape: str, warmup: int, steps: int) -> Callable[[int], float]:
    """The learning rate's factor after a number of optimiser steps; never zero in the first or the last step."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        if shape == "linear":
            return 1.0 - done
        if shape == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        return 1.0

    return factor
