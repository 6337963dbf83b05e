"""The run folder: what lies where, and how far the run has got. Imports no torch."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from suite.errors import InputError
from suite.files import write_text

Status = Literal["running", "interrupted", "finished"]
LOCK = ".lock"
_INHERITED = "SUITE_RUN_FOLDER"
_ADVICE = "put back a copy of the file, or train anew in another folder"


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder, and its state file.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Everything that reproduces the run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: step, epoch and what was logged."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """What `--resume` continues from."""
        return self.path / "last.ckpt"

    @property
    def adapter(self) -> Path:
        """The result."""
        return self.path / "adapter"

    @property
    def steps(self) -> Path:
        """Adapters of earlier steps, where the run keeps them."""
        return self.path / "steps"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def state_file(self) -> Path:
        return self.path / "run.json"

    def state(self) -> dict[str, Any]:
        """The state file's content; empty where there is none.

        Raises:
            InputError: it is damaged.
        """
        if not self.state_file.is_file():
            return {}
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{self.state_file} is damaged: {_ADVICE}") from error
        if not isinstance(state, dict) or state.get("status") not in get_args(Status):
            raise InputError(f"{self.state_file} does not say how far the run has got: {_ADVICE}")
        metrics = state.get("metrics", {})
        if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
            raise InputError(f"{self.state_file} holds metrics that are no numbers: {_ADVICE}")
        return state

    def started_with(self) -> dict[str, Any] | None:
        """The configuration that the run was last started with; None where nothing tells.

        Raises:
            InputError: the state file is damaged.
        """
        record = self.state().get("config")
        if record is None and self.config.is_file():
            # Runs of earlier versions have it in the file for people alone.
            try:
                record = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                return None
        return record if isinstance(record, dict) else None

    def mark(self, status: Status, **facts: Any) -> None:
        """Record how far the run has got."""
        state = {**self.state(), "status": status, **facts}
        write_text(self.state_file, json.dumps(state, indent=1) + "\n")

    @property
    def finished(self) -> bool:
        return self.state().get("status") == "finished"

    def write_config(self, record: dict[str, Any]) -> None:
        write_text(self.config, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))

    def start(self, record: dict[str, Any]) -> None:
        """Write down what the run is trained with, for people and for the next start, and that it is running."""
        # The state comes first: from then on the folder is known as a run's.
        self.mark("running", config=json.loads(json.dumps(record, default=str)))
        self.write_config(record)


@dataclass(frozen=True)
class Run:
    """What a training left behind.

    Attributes:
        folder: the run folder.
        adapter: the trained adapter.
        metrics: the last value of everything logged; with `monitor` the best validation's.
        report: the page that shows the run.
        labels: names of the metrics for people.
    """

    folder: Path
    adapter: Path
    metrics: dict[str, float]
    report: Path | None
    labels: dict[str, str] = field(default_factory=dict)


def finished_run(run: RunFolder) -> Run:
    """What a finished run folder holds.

    Raises:
        InputError: its adapter is gone.
    """
    if not any((run.adapter / name).is_file() for name in ("suite.json", "adapter_config.json")):
        raise InputError(
            f"{run.path} is marked as finished and {run.adapter} holds no adapter; put it back, or delete "
            f"{run.state_file} to train it again"
        )
    report = run.report if run.report.is_file() else None
    state = run.state()
    return Run(run.path, run.adapter, state.get("metrics", {}), report, state.get("labels", {}))


def fresh(parent: str | Path = "runs", name: str = "") -> RunFolder:
    """A run folder that does not exist yet: `<parent>/<time>[-<name>]`.

    Processes that Lightning starts for further devices run the same command again and take their parent's folder.

    Raises:
        InputError: an outside launcher started several processes, which cannot agree on a name.
    """
    if is_follower() and _INHERITED in os.environ:
        return RunFolder(Path(os.environ[_INHERITED]))
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and _INHERITED not in os.environ:
        raise InputError("several processes were launched without a common run folder; name one with --run-dir")
    stem = time.strftime("%Y-%m-%d_%H-%M-%S") + (f"-{name}" if name else "")
    path = Path(parent) / stem
    count = 1
    while path.exists():
        count += 1
        path = Path(parent) / f"{stem}-{count}"
    os.environ[_INHERITED] = str(path)
    return RunFolder(path)


def is_follower() -> bool:
    """Whether this process is one of several of a training and another one leads, which alone writes and speaks."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return any(int(os.environ.get(name, 0)) > 0 for name in ranks)


def existing(path: str | Path) -> RunFolder:
    """The run folder to resume.

    Raises:
        InputError: there is none, or it holds nothing to resume.
    """
    folder = RunFolder(Path(path))
    if not folder.state_file.is_file():
        raise InputError(f"{folder.path} is not a run folder; give the folder that training named when it started")
    return folder


def unfinished(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it takes its name."""
    return checkpoint.with_name(f".{checkpoint.name}.part")


def check_unused(folder: RunFolder) -> None:
    """Refuse a folder in which a training has left something to resume or to keep.

    Raises:
        InputError: it has.
    """
    if folder.state_file.is_file() and (folder.finished or folder.checkpoint.is_file()):
        raise InputError(f"{folder.path} already holds a run; resume it, or name another folder")


def check_ours(folder: RunFolder) -> None:
    """Refuse a new run in a folder with something in it that no run of ours has begun.

    Raises:
        InputError: there is something; names it.
    """
    if is_follower() or folder.state_file.is_file() or not folder.path.is_dir():
        return
    held = sorted(path.name for path in folder.path.iterdir() if path.name != LOCK)
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise InputError(f"{folder.path} is no run folder and holds {held[0]}{more}; name another folder, or empty it")


def latest_unfinished(parent: str | Path) -> RunFolder:
    """The youngest run below `parent` that did not finish.

    Raises:
        InputError: there is none.
    """
    files = sorted(Path(parent).glob("*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        folder = RunFolder(file.parent)
        try:
            if not folder.finished:
                return folder
        except InputError:
            continue  # damaged: it can be named, and then says so
    raise InputError(f"no unfinished run in {parent}; start one without --resume, or name the folder of a run")
