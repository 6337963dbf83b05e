"""How a run trains: the fields of the `trainer:` section of a configuration. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from suite.errors import InputError


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of one training run; every field has a default that works on one device.

    Attributes:
        max_epochs: passes over the training data; -1 with `max_steps` set leaves the end to `max_steps`.
        max_steps: optimiser steps after which training ends; -1 is no limit.
        lr: peak learning rate.
        weight_decay: decoupled weight decay of matrices; biases, norms and scales (tensors of one dimension) have none.
        optimizer: `adamw` (fused where the device has it), `adamw8bit` (its state in 8 bits, by bitsandbytes),
            `adafactor` (its state in rows and columns), `prodigy` (finds its rate by itself; `lr: 1.0`, by prodigyopt)
            or `sgd` (momentum 0.9).
        scheduler: shape of the learning rate after warm-up: `constant`, or `linear` or `cosine` down to zero.
        warmup: linear warm-up, a fraction of all steps when below 1, else a number of optimiser steps.
        lora_plus_ratio: LoRA+ (Hayou et al. 2024, section 5): learning rate of the B matrices over that of A.
        gradient_clip_val: largest global gradient norm; None clips nothing.
        accumulate_grad_batches: batches per optimiser step; the loss stays the mean over all their tokens or samples.
        precision: `bf16` (products in bfloat16: adapters on a base in bfloat16 are cast once a batch, any other base
            runs under autocast), or Lightning's name, e.g. `32-true`, `bf16-mixed`, `16-mixed`, `64-true`; `auto` is
            bf16 on a GPU that has it and 32-true elsewhere.
        accelerator: `auto`, `cpu`, `gpu`.
        devices: how many devices on this machine.
        num_nodes: how many machines.
        strategy: `auto`; `ddp` or one of Lightning's variants of it, e.g. `ddp_find_unused_parameters_true`; or `fsdp`,
            which is ddp with the frozen base cut in shards over the devices.
        ema: decay of the moving average of the trained weights, which validates and is what is saved; None: off.
        gradient_checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        compile: run through `torch.compile` nothing (false), the whole model (true) or each repeated `blocks` by
            itself; `auto` is blocks on a GPU if that pays back within the run's steps, and nothing elsewhere.
        val_every: a float is epochs between validations (0.25: four times an epoch), an int is batches.
        limit_val_batches: at most this many validation batches; None is all, 0 no validation.
        monitor: logged value that decides which weights are kept, e.g. `val/f1`; None keeps the last.
        mode: whether `monitor` is to be `max` or `min`.
        patience: validations without a better `monitor` after which training ends; None never ends early.
        checkpoint_every: optimiser steps between two writes of `last.ckpt`; every epoch's end writes one too.
        keep_every: optimiser steps between two adapters that are kept in `steps/` beside the final one; None: none.
        keep_last: how many of these stay, the newest; None: all.
        log_every: optimiser steps between two lines of `metrics.jsonl`.
        deterministic: use torch's deterministic kernels everywhere; where an operation has none, say so and go on.
            `auto` does on the CPU alone (docs/training.md says what that means for resuming).
        seed: of everything random; a configuration file sets it at its top level.
    """

    max_epochs: int = 1
    max_steps: int = -1
    lr: float = 1e-4
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "prodigy", "sgd"] = "adamw"
    scheduler: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = 0.0
    lora_plus_ratio: float | None = None
    gradient_clip_val: float | None = 1.0
    accumulate_grad_batches: int = 1
    precision: str = "auto"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    ema: float | None = None
    gradient_checkpointing: bool = False
    compile: bool | Literal["auto", "blocks"] = "auto"
    val_every: int | float = 1.0
    limit_val_batches: int | None = None
    monitor: str | None = None
    mode: Literal["min", "max"] = "max"
    patience: int | None = None
    checkpoint_every: int = 200
    keep_every: int | None = None
    keep_last: int | None = None
    log_every: int = 10
    deterministic: bool | Literal["auto"] = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        positive = (
            "lr",
            "accumulate_grad_batches",
            "devices",
            "num_nodes",
            "val_every",
            "checkpoint_every",
            "log_every",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise InputError(f"trainer.{name} is {getattr(self, name)}; give a number above 0")
        for name in ("keep_every", "keep_last"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"trainer.{name} is {number}; give a number above 0, or null")
        if self.keep_last is not None and self.keep_every is None:
            raise InputError("trainer.keep_last counts the adapters that trainer.keep_every keeps; set that too")
        if self.max_epochs < 1 and self.max_steps < 1:
            raise InputError("trainer.max_epochs and trainer.max_steps set no end; give one of them a number above 0")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"trainer.ema is {self.ema}; give a decay between 0 and 1, e.g. 0.999")
        if self.patience is not None and self.monitor is None:
            raise InputError("trainer.patience needs a value to watch; set trainer.monitor, e.g. val/loss")
        if isinstance(self.val_every, float) and self.val_every > 1 and not self.val_every.is_integer():
            raise InputError(f"trainer.val_every is {self.val_every} epochs; above 1 give whole epochs")
