"""The trainers that are compared: ours with each of its parts on or off, peft + transformers' Trainer, Unsloth's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from peft import get_peft_model
from torch import Tensor, nn

from benchmarks.gpu.claim import clear_memory, peak_gigabytes
from benchmarks.gpu.llama import (
    ALPHA,
    RANK,
    TARGETS,
    Clock,
    Shape,
    Timed,
    TimedCallback,
    base_model,
    lora_config,
    packed_rows,
)
from suite import adapters
from suite.adapters.fused.lora import FusedForward
from suite.training import AdapterModule, Outputs, TrainerConfig, attention, causal_lm_loss, fit, lm_outputs, loader
from suite.training.packing import collate


@dataclass(frozen=True)
class Parts:
    """The parts of our trainer's speed; without any it does what peft + Trainer do.

    Attributes:
        varlen: attention inside each document by `torch.nn.attention.varlen`, no mask.
        chunks: the loss from hidden states in chunks.
        fused: LoRA as one product.
        cast_once: adapters cast once a step on the bf16 base; otherwise autocast.
        blocks: each block through `torch.compile`.
        deterministic: torch's deterministic kernels.
    """

    varlen: bool = True
    chunks: bool = True
    fused: bool = True
    cast_once: bool = True
    blocks: bool = True
    deterministic: bool = False


@dataclass(frozen=True)
class Measured:
    """What a training took.

    Attributes:
        seconds: of the timed steps.
        gigabytes: most memory that tensors held, the base included; 0 without a GPU.
        before: seconds from the start to the end of the warm-up, compilation included.
    """

    seconds: float
    gigabytes: float
    before: float


class Recipe(AdapterModule):
    """LoRA on the base."""

    def __init__(self, shape: Shape, device: torch.device, parts: Parts, four_bit: bool) -> None:
        super().__init__()
        self.shape, self.where, self.parts, self.four_bit = shape, device, parts, four_bit

    def build(self) -> nn.Module:
        model = base_model(self.shape, self.where, self.four_bit)
        return adapters.attach(model, "lora", r=RANK, lora_alpha=ALPHA, targets=list(TARGETS))

    def cpu(self) -> Recipe:
        # At a run's end the trainer takes its module off the device; 13 GB would travel for nothing.
        return self

    def compute(self, batch: dict[str, Any]) -> Outputs:
        if self.parts.chunks:
            return lm_outputs(self.model, batch)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with attention.packed_inputs(self.model, inputs) as given:
            logits = self.model(**given).logits
        return causal_lm_loss(logits, batch["labels"])


def ours(shape: Shape, device: torch.device, parts: Parts = Parts(), *, four_bit: bool = False) -> Measured:
    """`suite.training.fit`."""
    clear_memory()
    clock = Clock(shape)
    config = TrainerConfig(
        max_steps=shape.warmup + shape.steps,
        max_epochs=-1,
        lr=1e-4,
        precision="bf16" if parts.cast_once else "bf16-mixed",
        accelerator="gpu" if device.type == "cuda" else "cpu",
        limit_val_batches=0,
        compile="blocks" if parts.blocks else False,
        deterministic=parts.deterministic,
    )
    batches = loader(packed_rows(shape), shape.batch, collate_fn=collate, num_workers=_workers(device))
    # Compiling for a CPU takes minutes and shows nothing: what is to be compiled runs as it is there.
    stance = torch.compiler.set_stance("default" if device.type == "cuda" else "force_eager")
    with stance, only(parts), tempfile.TemporaryDirectory() as folder:
        fit(Recipe(shape, device, parts, four_bit), batches, config, [Timed(clock)], folder=Path(folder) / "run")
    return Measured(clock.seconds, peak_gigabytes(), clock.started - clock.begun)


@contextmanager
def only(parts: Parts) -> Iterator[None]:
    """Switch off, inside the block, what no setting switches off."""
    with ExitStack() as stack:
        if not parts.varlen:
            stack.enter_context(patch.object(attention, "_kernel_runs", lambda model, device: False))
        if not parts.fused:
            stack.enter_context(patch.object(FusedForward, "forward", _forward_of_peft))
        yield


def _forward_of_peft(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return super(FusedForward, layer).forward(x, *args, **kwargs)  # type: ignore[misc]


def peft_and_transformers(shape: Shape, device: torch.device, *, four_bit: bool = False) -> Measured:
    """peft and transformers' Trainer, as their documentation has it."""
    clear_memory()
    clock = Clock(shape)
    return _transformers_trainer(
        shape, device, get_peft_model(base_model(shape, device, four_bit), lora_config()), clock
    )


def unsloth(shape: Shape, device: torch.device) -> Measured:
    """Unsloth's model under transformers' Trainer. It patches transformers: nothing can be measured after it."""
    from unsloth import FastLanguageModel

    with tempfile.TemporaryDirectory() as folder:
        base_model(shape, device).save_pretrained(folder)
        clear_memory()
        clock = Clock(shape)
        model, _ = FastLanguageModel.from_pretrained(
            folder, max_seq_length=shape.length, dtype=torch.bfloat16, load_in_4bit=False, local_files_only=True
        )
    model = FastLanguageModel.get_peft_model(
        model, r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), use_gradient_checkpointing=False
    )
    return _transformers_trainer(shape, device, model, clock)


def _transformers_trainer(shape: Shape, device: torch.device, model: nn.Module, clock: Clock) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=shape.batch,
            max_steps=shape.warmup + shape.steps,
            learning_rate=1e-4,
            max_grad_norm=1.0,
            optim="adamw_torch_fused" if device.type == "cuda" else "adamw_torch",
            bf16=True,
            use_cpu=device.type == "cpu",
            dataloader_num_workers=_workers(device),
            logging_steps=1000,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = transformers.Trainer(
            model,
            settings,
            train_dataset=packed_rows(shape),
            data_collator=_without_boundaries,
            callbacks=[TimedCallback(clock)],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return Measured(clock.seconds, peak_gigabytes(), clock.started - clock.begun)


def _without_boundaries(rows: list[dict[str, Tensor]]) -> dict[str, Any]:
    """The same batch: transformers masks the documents by their positions."""
    return {name: value for name, value in collate(rows).items() if name not in attention.BOUNDARIES}


def _workers(device: torch.device) -> int:
    return 2 if device.type == "cuda" else 0
