"""LoRA on a 7B Llama shape on one GPU: our trainer beside peft + transformers' Trainer.

    python -m benchmarks.llama7b_gpu [--save]
    python -m benchmarks.llama7b_gpu --smoke          # the same code on a tiny shape, on any machine

The base is randomly initialised in bf16; LoRA of rank 16 sits on every linear layer of the blocks. Both trainers get
the same model code, the same packed rows of 2,048 tokens (whole documents that do not see each other), the same batch
size, learning rate, clipping, fused AdamW, SDPA and bf16 autocast, in one process, in turn.

FLOP of a token: the forward pass and the gradient of the activations each cost 2 N, with N the parameters that are in
matrix products (the input embedding is a look-up); frozen weights get no gradient, so LoRA costs 4 N and not 6 N, plus
6 N_adapter. Attention adds, in each layer and for a token that sees c tokens, 4 c d forward and twice that backward:
12 c d, where c is the mean over the row's tokens under the causal mask inside documents. Work that is done twice
(gradient checkpointing) does not count. MFU is that over the GPU's dense bf16 peak.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks._gpu import refused
from suite import adapters
from suite.training import AdapterModule, Outputs, Procedure, TrainerConfig, causal_lm_loss, fit, loader
from suite.training.packing import PackedDataset, collate

RESULTS = Path(__file__).parent / "results"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GOALS = {"speed": 1.3, "mfu": 0.5}
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0, "L40S": 362.0, "4090": 165.0}
"""Dense bf16 peaks from the vendor's data sheets, by a part of the device's name (SXM boards)."""


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
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}
FULL = Shape(LLAMA_7B, length=2048, documents=4, batch=4, warmup=5, steps=20)
SMOKE = Shape(TINY, length=32, documents=4, batch=2, warmup=1, steps=3)


def base_model(shape: Shape, device: torch.device) -> LlamaForCausalLM:
    """The randomly initialised base, made on the device in bf16."""
    torch.manual_seed(0)
    config = LlamaConfig(**shape.model, attn_implementation="sdpa", use_cache=False, dtype=torch.bfloat16)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)


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
        self.started = self.seconds = 0.0

    def step_done(self, step: int) -> None:
        """Call after optimiser step `step`, counted from 1."""
        if step not in (self.warmup, self.last):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if step == self.warmup:
            self.started = time.perf_counter()
        else:
            self.seconds = time.perf_counter() - self.started


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


class Recipe(AdapterModule):
    """LoRA on the base."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        super().__init__()
        self.shape, self.where = shape, device

    def build(self) -> nn.Module:
        model = base_model(self.shape, self.where)
        return adapters.attach(model, "lora", r=16, lora_alpha=32, targets=list(TARGETS))

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        labels = batch["labels"]
        logits = self.model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        return causal_lm_loss(logits, labels)


def ours(shape: Shape, options: argparse.Namespace, device: torch.device, folder: Path) -> float:
    """Seconds of the timed steps with `suite.training.fit`."""
    clock = Clock(shape)
    config = TrainerConfig(
        max_steps=shape.warmup + shape.steps,
        max_epochs=-1,
        lr=1e-4,
        precision="bf16-mixed",
        accelerator="gpu" if device.type == "cuda" else "cpu",
        limit_val_batches=0,
        gradient_checkpointing=options.checkpointing,
        compile=options.compile,
        # Choosing slower kernels for the sake of repeatability is not what transformers' Trainer does either.
        deterministic=False,
    )
    batches = loader(packed_rows(shape), shape.batch, collate_fn=collate, num_workers=options.workers)
    fit(Recipe(shape, device), batches, config, [Timed(clock)], folder=folder)
    return clock.seconds


def theirs(shape: Shape, options: argparse.Namespace, device: torch.device, folder: Path) -> float:
    """Seconds of the timed steps with peft and transformers' Trainer."""
    clock = Clock(shape)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    model = get_peft_model(base_model(shape, device), lora)
    settings = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=shape.batch,
        max_steps=shape.warmup + shape.steps,
        learning_rate=1e-4,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if device.type == "cuda" else "adamw_torch",
        bf16=True,
        use_cpu=device.type == "cpu",
        gradient_checkpointing=options.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if options.checkpointing else None,
        torch_compile=options.compile,
        dataloader_num_workers=options.workers,
        logging_steps=10,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = transformers.Trainer(
        model, settings, train_dataset=packed_rows(shape), data_collator=collate, callbacks=[TimedCallback(clock)]
    )
    trainer.train()
    return clock.seconds


def flop_per_token(shape: Shape) -> float:
    """The formula of this file's first lines."""
    with torch.device("meta"):
        base = LlamaForCausalLM(LlamaConfig(**shape.model))
    matrices = sum(p.numel() for p in base.parameters() if p.ndim > 1) - base.get_input_embeddings().weight.numel()
    adapter = sum(p.numel() for n, p in _adapted(base).named_parameters() if "lora_" in n)
    seen = (shape.document + 1) / 2
    attention = 12 * seen * shape.model["hidden_size"] * shape.model["num_hidden_layers"]
    return 4 * matrices + 6 * adapter + attention


def _adapted(base: nn.Module) -> nn.Module:
    with torch.device("meta"):
        return get_peft_model(base, LoraConfig(r=16, target_modules=list(TARGETS)))


def measure(shape: Shape, options: argparse.Namespace, device: torch.device) -> dict[str, dict[str, float | None]]:
    """Both trainers in turn, `rounds` times: tokens a second (median), MFU and the highest memory."""
    trainers: dict[str, Callable[..., float]] = {"suite": ours, "peft + transformers": theirs}
    speeds: dict[str, list[float]] = {name: [] for name in trainers}
    memory: dict[str, float | None] = dict.fromkeys(trainers)
    tokens = shape.steps * shape.batch * shape.length
    for _ in range(options.rounds):
        for name, train in trainers.items():
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as folder:
                speeds[name].append(tokens / train(shape, options, device, Path(folder) / "run"))
            if device.type == "cuda":
                memory[name] = max(memory[name] or 0.0, torch.cuda.max_memory_allocated() / 1e9)
    peak = options.peak_tflops or (device_peak(torch.cuda.get_device_name()) if device.type == "cuda" else None)
    flop = flop_per_token(shape)
    return {
        name: {
            "tokens_per_second": statistics.median(values),
            "mfu": statistics.median(values) * flop / (peak * 1e12) if peak else None,
            "peak_memory_gb": memory[name],
        }
        for name, values in speeds.items()
    }


def device_peak(name: str) -> float | None:
    """Dense bf16 TFLOP/s of a GPU, None when it is not in the table."""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, help=f"rows of a step (default {FULL.batch})")
    parser.add_argument("--rounds", type=int, default=3, help="times that each trainer runs, in turn (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes that load data (default 2)")
    parser.add_argument("--checkpointing", action="store_true", help="both trainers recompute blocks")
    parser.add_argument("--compile", action="store_true", help="both trainers use torch.compile")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of a GPU that the table does not know")
    parser.add_argument("--smoke", action="store_true", help="a tiny shape on the CPU: shows that it runs, no figure")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/llama7b_gpu.json")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    if refused(options.smoke, options.save):
        return 2
    shape, device = (SMOKE, torch.device("cpu")) if options.smoke else (FULL, torch.device("cuda"))
    if options.batch:
        shape = dataclasses.replace(shape, batch=options.batch)
    figures = measure(shape, options, device)
    for name, values in figures.items():
        mfu = "unknown" if values["mfu"] is None else f"{values['mfu']:.1%}"
        memory = "" if values["peak_memory_gb"] is None else f"  {values['peak_memory_gb']:.1f} GB"
        print(f"{name:20s} {values['tokens_per_second']:10.0f} tokens/s  MFU {mfu}{memory}")
    speeds = [values["tokens_per_second"] or 0.0 for values in figures.values()]
    print(f"suite / peft + transformers: {speeds[0] / speeds[1]:.2f} (goal >= {GOALS['speed']}, MFU >= {GOALS['mfu']})")
    if options.save:
        write(shape, options, figures, speeds[0] / speeds[1])
    return 0


def write(shape: Shape, options: argparse.Namespace, figures: Mapping[str, Any], ratio: float) -> None:
    """Keep the figures with everything that they depend on."""
    RESULTS.mkdir(exist_ok=True)
    report = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "shape": dataclasses.asdict(shape),
        "checkpointing": options.checkpointing,
        "compile": options.compile,
        "rounds": options.rounds,
        "flop_per_token": flop_per_token(shape),
        "trainers": figures,
        "ratio": ratio,
        "goals": GOALS,
    }
    (RESULTS / "llama7b_gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
