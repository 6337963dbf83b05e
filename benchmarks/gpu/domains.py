"""Every domain trains, goes on and predicts on this device, from its embedded base: seconds, or what went wrong."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path

from benchmarks.gpu.claim import Figure, Setting, clear_memory
from suite import domain, training
from suite.cli.main import main
from suite.hub import paths
from suite.training import load_config

STEPS, MORE = 6, 10
"""Optimiser steps before and after the run goes on."""


def measure(setting: Setting) -> Iterator[Figure]:
    """One figure a domain; a failure is the claim's failure."""
    for name in domain.discover():
        clear_memory()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            note = _one(name, Path(folder), setting)
        yield Figure(f"{name} trains, goes on and predicts", time.perf_counter() - start, "s", note=note)


def _one(name: str, folder: Path, setting: Setting) -> str:
    # What the domain contract's tests know of a domain: how it trains in seconds, and an input that it reads.
    subject = import_module(f"tests.domains.{name}").SUBJECT
    config = paths.assets() / "configs" / (subject.config or f"{name}/tiny.yaml")

    def train(steps: int, **where: Path) -> None:
        ends = ("--trainer.max_epochs", "100", "--trainer.max_steps", str(steps), "--trainer.val_every", "2")
        words = [*subject.smoke, *ends, "--trainer.log_every", "1"]
        training.run(load_config(config, [*words, "--trainer.accelerator", "cpu" if setting.smoke else "gpu"]), **where)

    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        train(STEPS, run_dir=folder / "run")
        train(MORE, resume=folder / "run")
        found = _predict(name, folder / "run" / "adapter", subject.good(folder), folder / "out", subject.options)
    steps = [_steps(file) for file in (folder / "run").rglob("metrics.jsonl")]
    if any(taken != list(range(1, MORE + 1)) for taken in steps):
        raise RuntimeError(f"{name} went on from step {STEPS} to {MORE} and logged the steps {steps}")
    return f"{STEPS} + {MORE - STEPS} steps, {found} files written by predict"


def _steps(log: Path) -> list[int]:
    """The optimiser steps whose loss was logged, in order."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [line["step"] for line in lines if "train/loss" in line]


def _predict(name: str, adapter: Path, source: Path, out: Path, options: tuple[str, ...]) -> int:
    words = [name, "predict", str(source), "--adapter", str(adapter), "--out", str(out), *options]
    if code := main(words):
        raise RuntimeError(f"suite {' '.join(words)} exited with {code}")
    return sum(path.is_file() for path in out.rglob("*"))
