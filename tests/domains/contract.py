"""What every domain must do, checked from its contract and a `Subject` alone.

A domain `x` states its `SUBJECT` in `tests/domains/x.py`; `test_contract.py` runs the checks for every domain that is
installed. Each check takes a `Trained`, so that a domain trains once for all of them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from safetensors.numpy import load_file

from suite import training
from suite.cli.main import main
from suite.domain import discover
from suite.hub import paths
from suite.training import ExperimentConfig, Run, compiling, load_config
from suite.training.choices import Capability
from tests.domains.foreign import NAME, foreign_device

CHECKOUT = Path(__file__).resolve().parents[2]
BUDGET = 50.0
"""Seconds of processor time for all checks of one domain: 25 seconds on two cores that do nothing else."""


@dataclass(frozen=True)
class Case:
    """One more task of a domain, which the checks of devices train and predict with beside the first.

    Attributes:
        config: below `configs/`.
        smoke: dotted overrides that make it small.
        adapter: reference of what it predicts with.
        options: more words for `predict`.
        blocks: its model has a list of equal blocks, which can be recomputed in the backward pass.
    """

    config: str
    smoke: tuple[str, ...] = ()
    adapter: str = "tiny"
    options: tuple[str, ...] = ()
    blocks: bool = True


@dataclass(frozen=True)
class Subject:
    """What the contract test must know of a domain.

    Attributes:
        domain: its name.
        good: writes an input that it can predict from below the folder it is given; returns the input.
        bad: the same for an input that it must refuse.
        score: of an adapter reference on held-out data; None is the frozen base. More is better.
        margin: by how much the shipped adapter beats the frozen base at least.
        smoke: dotted overrides that make the configuration train in seconds, for at least 20 optimiser steps.
        config: below `configs/`; the domain's `tiny.yaml` where it is empty.
        options: more words for `predict`.
        evaluate: words for a short `evaluate`.
        shipped: reference of the adapter that ships with the suite; None where none does, then the one just trained.
        others: the domain's other tasks.
        blocks: its model has a list of equal blocks, which can be recomputed in the backward pass.
    """

    domain: str
    good: Callable[[Path], Path]
    bad: Callable[[Path], Path]
    score: Callable[[str | None], float]
    margin: float
    smoke: tuple[str, ...] = ()
    config: str | Path = ""
    options: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    shipped: str | None = "tiny"
    others: tuple[Case, ...] = ()
    blocks: bool = True

    def words(self) -> list[str]:
        """The configuration and its overrides, as the command and `load_config` take them."""
        return [str(self._path()), *self.smoke, "--trainer.checkpoint_every", "2"]

    def experiment(self) -> ExperimentConfig:
        """The smoke configuration."""
        path, *overrides = self.words()
        return load_config(path, overrides)

    def cases(self, adapter: str) -> list[Case]:
        """Every task, the first with an adapter of this reference."""
        return [Case(str(self._path()), self.smoke, adapter, self.options, self.blocks), *self.others]

    def _path(self) -> Path:
        return paths.assets() / "configs" / (self.config or f"{self.domain}/tiny.yaml")


@dataclass(frozen=True)
class Trained:
    """A domain's smoke run, and a folder for what the checks write."""

    subject: Subject
    run: Run
    folder: Path

    @property
    def adapter(self) -> str:
        """Reference of the adapter that the checks predict with."""
        return self.subject.shipped or str(self.run.adapter.resolve())


@dataclass(frozen=True)
class Said:
    """Exit code and streams of one call of the command."""

    code: int
    data: dict[str, Any] = field(default_factory=dict)
    err: str = ""


def command(*argv: str | Path) -> Said:
    """Call the command in this process with `--json`."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*map(str, argv), "--json"])
    return Said(code, json.loads(out.getvalue()), err.getvalue())


def train(subject: Subject, folder: Path) -> Trained:
    """Train the smoke recipe."""
    return Trained(subject, training.run(subject.experiment(), run_dir=folder / "run"), folder)


def weights(folder: Path) -> dict[str, bytes]:
    """Every tensor of every adapter below `folder`, by file and name, as its exact bytes."""
    return {name: tensor.tobytes() for name, tensor in _tensors(folder).items()}


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{file.relative_to(folder)}:{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def check_run_folder(trained: Trained) -> None:
    """Training leaves a complete run folder with a non-empty adapter, and its configuration reads back the same."""
    run = trained.run
    for name in ("config.yaml", "report.html"):
        assert (run.folder / name).is_file(), f"the run folder lacks {name}"
    assert weights(run.adapter), "the adapter holds no tensor"
    again = load_config(run.folder / "config.yaml")
    assert again.trainer == trained.subject.experiment().trainer


def check_reload(trained: Trained) -> None:
    """What was saved loads from elsewhere, and predicts the same to the last bit every time."""
    subject, copy = trained.subject, trained.folder / "copy"
    shutil.copytree(trained.run.adapter, copy)
    source = subject.good(_made(trained.folder / "reload"))
    results = [
        command(subject.domain, "predict", source, "--adapter", folder.resolve(), "--out", out, *subject.options)
        for folder, out in ((trained.run.adapter, trained.folder / "out-1"), (copy, trained.folder / "out-2"))
    ]
    assert [said.code for said in results] == [0, 0], results
    assert _outcomes(results[0]) == _outcomes(results[1])


def check_shipped_beats_frozen(trained: Trained) -> None:
    """On held-out data the shipped adapter is better than the base alone by the subject's margin."""
    subject = trained.subject
    adapted, frozen = subject.score(trained.adapter), subject.score(None)
    assert adapted >= frozen + subject.margin, f"adapter {adapted:.4f}, frozen base {frozen:.4f}"


def check_predict(trained: Trained) -> None:
    """The command predicts, names the files that it wrote, and they are there."""
    subject, out = trained.subject, trained.folder / "out"
    source = subject.good(_made(trained.folder / "predict"))
    said = command(subject.domain, "predict", source, "--adapter", trained.adapter, "--out", out, *subject.options)
    assert said.code == 0, said.err
    assert said.data["failed"] == 0
    assert said.data["done"] >= 1
    files = [Path(file) for result in said.data["results"] for file in result["files"]]
    assert files
    assert all(file.is_file() and file.stat().st_size and out in file.parents for file in files)


def check_bad_input(trained: Trained) -> None:
    """A bad input costs one line and exit code 2; the inputs around it are still done."""
    subject = trained.subject
    first, last = (subject.good(_made(trained.folder / name)) for name in ("first", "last"))
    bad = subject.bad(_made(trained.folder / "bad"))
    absent = trained.folder / "absent"
    words = (first, bad, absent, last)
    said = command(subject.domain, "predict", *words, "--adapter", trained.adapter, *subject.options)
    assert said.code == 2, said
    errors = [result["error"] for result in said.data["results"] if result["error"]]
    assert len(errors) == said.data["failed"] == 2, said.data
    assert said.data["done"] >= 2
    assert not any("\n" in error for error in errors)
    assert "Traceback" not in said.err
    assert bad.name in said.err
    assert absent.name in said.err


def check_resume_after_kill(trained: Trained) -> None:
    """Killed in the middle and resumed, training ends with the very adapter of the uninterrupted run."""
    subject, folder, record = trained.subject, trained.folder / "killed", trained.folder / "killed.txt"
    path, *overrides = subject.words()
    argv = [subject.domain, "train", "--config", path, "--run-dir", str(folder), *overrides]
    child = subprocess.Popen(listened(record, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_env())
    try:
        _wait_for(lambda: any(folder.rglob("last.ckpt")), child)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert json.loads((folder / "run.json").read_text())["status"] == "running", "it was not killed in the middle"
    done = training.run(subject.experiment(), resume=folder)
    assert weights(done.adapter) == weights(trained.run.adapter)
    assert record.read_text() == "", "training let other libraries talk"


def check_quiet(trained: Trained) -> None:
    """In a process of their own the verbs print what the suite says, and nothing of other libraries."""
    subject, record = trained.subject, trained.folder / "said.txt"
    source = subject.good(_made(trained.folder / "quiet"))
    path, *overrides = subject.words()
    calls = (
        ["count", "--config", path, *overrides],
        ["predict", str(source), "--adapter", trained.adapter, "--out", str(trained.folder / "quiet out")],
        ["evaluate", *subject.evaluate],
    )
    calls[1].extend(subject.options)
    done = subprocess.run(
        listened(record, *([subject.domain, *call] for call in calls)), capture_output=True, text=True, env=_env()
    )
    assert done.returncode == 0, done.stderr
    assert record.read_text() == ""
    assert "\r" not in done.stdout + done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr


def listened(record: Path, *calls: Sequence[str]) -> list[str]:
    """The command line of a process that makes these calls of the command and records what others print meanwhile."""
    words = [word for call in calls for word in ("+", *call)]
    return [sys.executable, str(CHECKOUT / "tests" / "domains" / "listening.py"), str(record), *words[1:]]


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), *sys.path)))}


def check_foreign_device(trained: Trained) -> None:
    """Every task trains and predicts on another device than the CPU: no tensor of it is made in the wrong place."""
    subject = trained.subject
    for number, case in enumerate(subject.cases(trained.adapter)):
        folder = _made(trained.folder / f"foreign{number}")
        source = subject.good(folder)
        with foreign_device() as device:
            training.run(_briefly(case, "--trainer.accelerator", NAME, "--trainer.strategy", NAME), folder / "run")
            words = (source, "--adapter", case.adapter, "--device", str(device), *case.options)
            said = command(subject.domain, "predict", *words)
        assert said.code == 0, said
        assert said.data["failed"] == 0 < said.data["done"]


GPU_RUN = (
    *("--trainer.compile", "blocks", "--trainer.ema", "0.9"),
    *("--trainer.accumulate_grad_batches", "2", "--trainer.gradient_clip_val", "0.1"),
)


def check_settings_of_a_gpu_run(trained: Trained) -> None:
    """Every task trains with all that a run on a GPU chooses: bfloat16, fused optimiser, clipping, compiled blocks."""
    gpu = classmethod(lambda cls, accelerator="auto": cls("cuda", bf16=True))
    for number, case in enumerate(trained.subject.cases(trained.adapter)):
        folder = trained.folder / f"gpu{number}"
        # Making kernels takes long and a compiler; all that comes before it is what can fail here.
        with patch.object(Capability, "here", gpu), patch.object(compiling, "BACKEND", "eager"):
            recomputed = str(case.blocks).lower()
            run = training.run(_briefly(case, *GPU_RUN, "--trainer.gradient_checkpointing", recomputed), folder)
        assert weights(run.adapter)
        for name, tensor in _tensors(run.adapter).items():
            assert np.isfinite(tensor).all(), name
        assert math.isfinite(run.metrics.get("train/loss", 0.0))


def check_every_task_is_held(trained: Trained) -> None:
    """The subject has a case for every task of its domain."""
    subject = trained.subject
    tasks = discover()[subject.domain].tasks
    named = [_briefly(case).task or next(iter(tasks)) for case in subject.cases(trained.adapter)]
    assert sorted(named) == sorted(tasks)


def _briefly(case: Case, *overrides: str) -> ExperimentConfig:
    """One optimiser step and one batch of validation."""
    short = ("--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--trainer.val_every", "1")
    return load_config(paths.assets() / "configs" / case.config, [*case.smoke, *short, *overrides])


def processor_time() -> float:
    """Seconds that this process and its finished children have computed; waiting for others' work is not in it."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


CHECKS = (
    check_run_folder,
    check_reload,
    check_shipped_beats_frozen,
    check_predict,
    check_bad_input,
    check_resume_after_kill,
    check_quiet,
    check_every_task_is_held,
    check_foreign_device,
    check_settings_of_a_gpu_run,
)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _outcomes(said: Said) -> list[dict[str, Any]]:
    """The results without what names their files and the adapter they came from, and without the time they took."""

    def without_adapter(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: without_adapter(item)
                for key, item in value.items()
                if key not in ("adapter", "adapters", "files", "seconds", "speed")
            }
        return [without_adapter(item) for item in value] if isinstance(value, list) else value

    return [without_adapter(result) for result in said.data["results"]]


def _wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, f"training ended with code {child.returncode} before it saved anything"
        assert time.monotonic() < end, "training saved nothing in time"
        time.sleep(0.005)
