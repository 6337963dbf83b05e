"""LoRA on a 7B Llama shape: our trainer beside peft + transformers' Trainer, on the same model code and packed rows.

The base is randomly initialised in bf16; LoRA of rank 16 sits on every linear layer of the blocks. All trainers get
rows of 2,048 tokens, four documents each that do not see each other, and the same batch, learning rate, clipping and
fused AdamW.

FLOP of a token: the forward pass and the gradient of the activations each cost 2 N, with N the parameters that are in
matrix products (the input embedding is a look-up); frozen weights get no gradient, so LoRA costs 4 N and not 6 N, plus
6 N_adapter. Attention adds, in each layer and for a token that sees c tokens, 4 c d forward and twice that backward:
12 c d, where c is the mean over the row's tokens under the causal mask inside documents. Work that is done twice
(gradient checkpointing) does not count. MFU is that over the GPU's dense bf16 peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.gpu.claim import Setting, now
from suite.adapters.nf4 import quantize_model
from suite.training import Procedure
from suite.training.packing import PackedDataset

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK, ALPHA = 16, 32


@dataclass(frozen=True)
class Shape:
    """What is measured.

    Attributes:
        model: fields of `LlamaConfig`.
        length: tokens of a row.
        documents: documents packed into a row.
        batch: rows of a step.
        warmup: steps before the clock starts.
        steps: steps that are timed.
    """

    model: Mapping[str, int]
    length: int
    documents: int
    batch: int
    warmup: int
    steps: int

    @property
    def document(self) -> int:
        """Tokens of a document."""
        return self.length // self.documents

    @property
    def tokens(self) -> int:
        """Tokens of the steps that are timed."""
        return self.steps * self.batch * self.length


LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
}
TINY = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}
FULL = Shape(LLAMA_7B, length=2048, documents=4, batch=4, warmup=4, steps=12)
SMOKE = Shape(TINY, length=32, documents=4, batch=2, warmup=1, steps=2)


def shape_of(setting: Setting) -> Shape:
    return SMOKE if setting.smoke else FULL


def base_model(shape: Shape, device: torch.device, four_bit: bool = False) -> LlamaForCausalLM:
    """The randomly initialised base, made on the device in bf16; in NF4 if asked."""
    torch.manual_seed(0)
    config = LlamaConfig(**shape.model, attn_implementation="sdpa", use_cache=False, dtype=torch.bfloat16)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    # bitsandbytes on the CPU too: peft has no layer for others, and both trainers get the same.
    return quantize_model(model, backend="bitsandbytes") if four_bit else model


def packed_rows(shape: Shape) -> PackedDataset:
    """Rows for every step, each full of documents of equal length."""
    generator = torch.Generator().manual_seed(1)
    count = shape.documents * shape.batch * (shape.warmup + shape.steps)
    documents = torch.randint(0, shape.model["vocab_size"], (count, shape.document), generator=generator)
    return PackedDataset([{"input_ids": row, "labels": row} for row in documents], shape.length)


class Clock:
    """Takes the time from the end of the warm-up to the end of the last step, the device's work included."""

    def __init__(self, shape: Shape) -> None:
        self.warmup, self.last = shape.warmup, shape.warmup + shape.steps
        self.begun = now()
        self.started = self.seconds = 0.0

    def step_done(self, step: int) -> None:
        """Call after optimiser step `step`, counted from 1."""
        if step == self.warmup:
            self.started = now()
        elif step == self.last:
            self.seconds = now() - self.started


class Timed(Procedure):
    """The clock of our trainer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.clock.step_done(trainer.global_step)


class TimedCallback(transformers.TrainerCallback):
    """The clock of transformers' Trainer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.step_done(state.global_step)


def lora_config() -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="CAUSAL_LM")


def flop_per_token(shape: Shape) -> float:
    """The formula of this file's first lines."""
    with torch.device("meta"):
        base = LlamaForCausalLM(LlamaConfig(**shape.model))
        matrices = sum(p.numel() for p in base.parameters() if p.ndim > 1) - base.get_input_embeddings().weight.numel()
        adapted = get_peft_model(base, lora_config())
    adapter = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    seen = (shape.document + 1) / 2
    attention = 12 * seen * shape.model["hidden_size"] * shape.model["num_hidden_layers"]
    return 4 * matrices + 6 * adapter + attention
