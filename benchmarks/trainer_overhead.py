"""What the trainer costs beside a bare training loop.

    python -m benchmarks.trainer_overhead [--save]

LoRA on a small Llama, one thread, float32, steps of at least 100 ms. The bare loop does what the method needs: next
batch, forward, backward, clipping, optimiser, schedule. The trainer does all of its own besides: seeds, logs, progress,
the run folder. One step of each runs in turn inside one process, so that other load on the machine hits both alike; a
repeat is ten steps of each, so that what the trainer does now and then (a line of the log) is in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.training import AdapterModule, Outputs, Procedure, TrainerConfig, causal_lm_loss, fit, loader
from suite.training.optimization import lr_factor

TARGET = 1.03
STEPS_A_REPEAT = 10
LENGTH = 128
RESULTS = Path(__file__).parent / "results"
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Seconds that passed, and seconds that this process computed: the second is blind to other load."""


class Tokens(torch.utils.data.Dataset):
    """Random rows of `LENGTH` tokens."""

    def __init__(self, rows: int) -> None:
        self.rows = torch.randint(0, 512, (rows, LENGTH), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


def adapted_llama() -> nn.Module:
    """A small Llama with LoRA on its attention."""
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return adapters.attach(LlamaForCausalLM(config), "lora", r=8, targets=["q_proj", "k_proj", "v_proj", "o_proj"])


class Recipe(AdapterModule):
    """The training to measure."""

    def build(self) -> nn.Module:
        return adapted_llama()

    def compute(self, batch: Tensor) -> Outputs:
        return causal_lm_loss(self.model(input_ids=batch).logits, batch)


def bare_loop(batches: DataLoader, steps: int) -> Iterator[None]:
    """The same training without a trainer; one step at each `next`."""
    config = TrainerConfig()
    torch.manual_seed(config.seed)
    model = adapted_llama().train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor(config.scheduler, 0, steps))
    while True:
        for batch in batches:
            optimizer.zero_grad()
            causal_lm_loss(model(input_ids=batch).logits, batch).loss.backward()
            if config.gradient_clip_val is not None:
                nn.utils.clip_grad_norm_(trained, config.gradient_clip_val)
            optimizer.step()
            schedule.step()
            yield


class Interleave(Procedure):
    """Runs a bare step at the start of every step of the trainer and takes the time of both.

    A step of the trainer lasts from the end of one bare step to the start of the next: nothing of it is left out.

    Attributes:
        times: by clock, (start, end) of every bare step.
    """

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare = bare
        self.times: dict[str, list[tuple[float, float]]] = {name: [] for name in CLOCKS}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        starts = {name: clock() for name, clock in CLOCKS.items()}
        next(self.bare)
        for name, clock in CLOCKS.items():
            self.times[name].append((starts[name], clock()))

    def repeats(self, clock: str) -> list[tuple[float, float]]:
        """Seconds a step of the trainer and of the bare loop in every repeat; the first repeat warms up."""
        trainer = [after[0] - before[1] for before, after in pairwise(self.times[clock])]
        bare = [end - start for start, end in self.times[clock]]
        cuts = range(STEPS_A_REPEAT, len(trainer) - STEPS_A_REPEAT + 1, STEPS_A_REPEAT)
        return [
            (statistics.fmean(trainer[i : i + STEPS_A_REPEAT]), statistics.fmean(bare[i : i + STEPS_A_REPEAT]))
            for i in cuts
        ]


def rows_of_a_step(milliseconds: float) -> int:
    """How many rows make a bare step of at least so many milliseconds of computing."""
    rows = 2
    while True:
        bare = bare_loop(DataLoader(Tokens(rows), rows), 3)
        next(bare)
        seconds = []
        for _ in range(3):
            start = time.process_time()
            next(bare)
            seconds.append(time.process_time() - start)
        # A tenth above, since the bound is on steps of at least this long.
        needed = 1.1 * milliseconds / 1e3 / min(seconds)
        if needed <= 1:
            return rows
        rows = max(rows + 1, round(rows * needed))


def measure(repeats: int, rows: int) -> Interleave:
    """Train with a trainer and a bare loop in turn."""
    steps = (repeats + 1) * STEPS_A_REPEAT + 1
    data = Tokens(40 * rows)
    procedure = Interleave(bare_loop(DataLoader(data, rows, shuffle=True), steps))
    config = TrainerConfig(max_epochs=-1, max_steps=steps, accelerator="cpu", limit_val_batches=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(Recipe(), loader(data, rows), config, [procedure], folder=Path(folder) / "run")
    return procedure


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="repeats of ten steps (default 20)")
    parser.add_argument("--milliseconds", type=float, default=100, help="least length of a bare step (default 100)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = rows_of_a_step(options.milliseconds)
    procedure = measure(options.repeats, rows)
    figures: dict[str, dict[str, float]] = {}
    for clock in CLOCKS:
        pairs = procedure.repeats(clock)
        trainer, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        figures[clock] = {"trainer_ms": 1e3 * trainer, "bare_ms": 1e3 * bare, "ratio": ratio}
        print(f"{clock:4s}  trainer {1e3 * trainer:6.1f} ms  bare loop {1e3 * bare:6.1f} ms  ratio {ratio:.3f}")
    ratio = figures["wall"]["ratio"]
    print(f"trainer / bare loop: {ratio:.3f} (target <= {TARGET}) {'met' if ratio <= TARGET else 'MISSED'}")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        report = {
            "threads": 1,
            "repeats": options.repeats,
            "steps_a_repeat": STEPS_A_REPEAT,
            "rows": rows,
            "torch": torch.__version__,
            "machine": platform.machine(),
            **figures,
            "target": f"<= {TARGET}",
            "met": ratio <= TARGET,
        }
        (RESULTS / "trainer_overhead.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
