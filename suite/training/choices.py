"""What a run chooses for its device where the configuration leaves it open: one pure function of what it knows.

Nothing here touches a device but `Capability.here`, so that tests see on a CPU what a run on a GPU would choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from suite.training.settings import TrainerConfig

Compile = Literal["off", "model", "blocks"]

BF16 = "bf16"
"""Products in bfloat16; see `suite.training.precision.AdapterPrecision`."""

# Blocks of a 7B Llama with LoRA, 8,192 tokens a step, on one H100: 27 s to compile, and 0.13 s a step saved.
COMPILE_SECONDS = 27.0
SAVED_SECONDS_PER_PARAMETER = 0.13 / 6.6e9
# Small models wait for launches rather than for products; a compiled block launches a few times less.
SAVED_SECONDS_AT_LEAST = 0.005


@dataclass(frozen=True)
class Capability:
    """What of a device decides how a run computes.

    Attributes:
        kind: torch's name of its type: `cpu`, `cuda`, `mps`, ...
        bf16: it multiplies in bfloat16 faster than in float32.
    """

    kind: str = "cpu"
    bf16: bool = False

    @classmethod
    def here(cls, accelerator: str = "auto") -> Capability:
        """That of the device that `trainer.accelerator` stands for on this machine."""
        if accelerator == "cpu" or not torch.cuda.is_available():
            return cls()
        return cls("cuda", torch.cuda.is_bf16_supported(including_emulation=False))


@dataclass(frozen=True)
class Load:
    """What of a run decides whether compiling pays back.

    Attributes:
        steps: optimiser steps times the batches that each accumulates.
        parameters: of the repeated blocks.
        kinds: of blocks that differ, each of which is compiled once.
    """

    steps: int
    parameters: int
    kinds: int

    def pays_back_after(self) -> float:
        """Steps until compiling blocks has saved the time that it cost."""
        saved = max(SAVED_SECONDS_AT_LEAST, self.parameters * SAVED_SECONDS_PER_PARAMETER)
        return self.kinds * COMPILE_SECONDS / saved


@dataclass(frozen=True)
class Choices:
    """How a run computes.

    Attributes:
        precision: Lightning's name, or `bf16`.
        cast: with `bf16`: adapters are cast once a batch; otherwise the whole forward runs under autocast.
        base: the type in which a recipe loads a base that is to stay frozen.
        fused: the optimiser's step is one kernel.
        clip: largest norm of the gradients.
        deterministic: torch's deterministic mode, where every kernel has such a form.
        compile: what is compiled.
    """

    precision: str
    cast: bool
    base: torch.dtype
    fused: bool
    clip: float | None
    deterministic: bool
    compile: Compile


def choose(config: TrainerConfig, device: Capability, base: torch.dtype | None, load: Load | None) -> Choices:
    """All choices at once.

    Args:
        config: what the user asks for; every `auto` in it is decided here.
        device: what runs the training.
        base: type of the frozen weights; None where they are of several.
        load: how much there is to do; None where the model has no repeated blocks.
    """
    precision = precision_of(config, device)
    return Choices(
        precision=precision,
        cast=precision == BF16 and base is torch.bfloat16,
        base=base_dtype(config, device),
        fused=fused(config, device),
        clip=config.gradient_clip_val,
        deterministic=deterministic(config, device),
        compile=compiles(config, device, load),
    )


def precision_of(config: TrainerConfig, device: Capability) -> str:
    """`auto` is `bf16` where the device is fast in it and float32 elsewhere."""
    if config.precision != "auto":
        return config.precision
    return BF16 if device.bf16 else "32-true"


def base_dtype(config: TrainerConfig, device: Capability) -> torch.dtype:
    """Half the memory where products are in bfloat16 anyway, or where weights are wanted in half precision."""
    named = {"bf16-true": torch.bfloat16, "16-true": torch.float16}
    return named.get(config.precision, torch.bfloat16 if precision_of(config, device) == BF16 else torch.float32)


def fused(config: TrainerConfig, device: Capability) -> bool:
    """AdamW has a fused kernel on CUDA; torch's other optimisers step over lists of tensors, which is as fast."""
    return config.optimizer == "adamw" and device.kind == "cuda"


def deterministic(config: TrainerConfig, device: Capability) -> bool:
    """`auto` is torch's deterministic mode on the CPU, where it costs nothing, and not elsewhere (docs/training.md)."""
    return device.kind == "cpu" if config.deterministic == "auto" else config.deterministic


def compiles(config: TrainerConfig, device: Capability, load: Load | None) -> Compile:
    """`auto` is blocks on a GPU where that pays back, and nothing elsewhere; FSDP's hooks cannot be compiled."""
    if config.compile != "auto":
        return {True: "model", False: "off", "blocks": "blocks"}[config.compile]  # type: ignore[return-value]
    worth = load is not None and load.steps > load.pays_back_after()
    return "blocks" if device.kind == "cuda" and worth and config.strategy != "fsdp" else "off"
