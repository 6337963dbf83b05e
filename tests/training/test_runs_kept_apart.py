"""Run folders: one training at a time, nothing overwritten, damage said in one line, debris swept."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.errors import InputError
from suite.training import ExperimentConfig, Interrupted, Procedure, TrainerConfig, fit, run
from tests.training.toys import Language, Rows, Voice

SHORT = TrainerConfig(max_steps=2, lr=1e-2, limit_val_batches=0, checkpoint_every=1)
CHECKOUT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from suite.training.folder import RunFolder
from suite.training.opening import opened
with opened(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one training."""
    return fit(Language(), Rows(), SHORT, folder=tmp_path_factory.mktemp("trained") / "run").folder


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(trained, tmp_path / "finished")


@pytest.fixture
def unfinished(finished: Path) -> Path:
    """A run that can be resumed."""
    state = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**state, "status": "running"}))
    return finished


def test_a_folder_in_which_another_process_trains_is_refused_until_that_is_killed(toys: Path, unfinished: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(unfinished)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    other = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        before = {path: path.stat().st_mtime_ns for path in unfinished.rglob("*")}
        with pytest.raises(InputError, match=f"another training is at work in {unfinished}"):
            fit(Language(), Rows(), SHORT, resume=unfinished)
        with pytest.raises(InputError, match="another training is at work"):
            run(ExperimentConfig("toys", trainer=SHORT), resume=unfinished)
        assert before == {path: path.stat().st_mtime_ns for path in unfinished.rglob("*")}
    finally:
        other.kill()
        other.wait()
    fit(Language(), Rows(), SHORT, resume=unfinished)


def test_a_worker_that_outlives_its_training_does_not_hold_the_folder(tmp_path: Path) -> None:
    from suite.training.folder import RunFolder
    from suite.training.opening import opened

    folder = RunFolder(tmp_path / "run")
    fork = multiprocessing.get_context("fork")
    leave = fork.Event()
    with opened(folder):
        (folder.path / "file").touch()
        worker = fork.Process(target=leave.wait)
        worker.start()
    try:
        code = HOLDER.replace("time.sleep(60)", "")
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([sys.executable, "-c", code, str(folder.path)], env=environment, capture_output=True)
        assert done.stdout == b"held\n", done.stderr
    finally:
        leave.set()
        worker.join()


@pytest.mark.parametrize("task", ["plain", "staged"])
def test_a_run_that_the_data_refuse_at_its_start_leaves_its_name_free(toys: Path, monkeypatch, task: str) -> None:
    def refuse(rows: Rows) -> None:
        raise InputError("rows.txt: no such file")

    monkeypatch.setattr(Rows, "train_dataloader", refuse)
    config = ExperimentConfig("toys", task=task, trainer=SHORT)
    for _ in range(2):
        with pytest.raises(InputError, match=r"rows\.txt: no such file"):
            run(config, run_dir=toys / "mine")
    assert not (toys / "mine").exists()
    monkeypatch.undo()


def test_a_run_that_had_trained_before_it_was_refused_is_kept(tmp_path: Path, unfinished: Path, monkeypatch) -> None:
    def refuse(rows: Rows) -> None:
        raise InputError("rows.txt: no such file")

    before = {path.name for path in unfinished.iterdir()}
    monkeypatch.setattr(Rows, "train_dataloader", refuse)
    with pytest.raises(InputError, match=r"rows\.txt: no such file"):
        fit(Language(), Rows(), SHORT, resume=unfinished)
    assert {path.name for path in unfinished.iterdir()} >= before - {".lock"}


def test_fit_does_not_overwrite_a_run(finished: Path) -> None:
    before = (finished / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    with pytest.raises(InputError, match="already holds a run"):
        fit(Language(), Rows(), SHORT, folder=finished)
    assert (finished / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "notes/thesis.tex", ".env"])
def test_a_folder_with_files_of_the_users_is_no_run_folder(toys: Path, name: str) -> None:
    file = toys / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text("two years of work")
    for attempt in (
        lambda: fit(Language(), Rows(), SHORT, folder=toys / "mine"),
        lambda: run(ExperimentConfig("toys", trainer=SHORT), run_dir=toys / "mine"),
        lambda: run(ExperimentConfig("toys", task="staged", trainer=SHORT), run_dir=toys / "mine"),
    ):
        with pytest.raises(InputError, match=f"{toys / 'mine'} .*holds {Path(name).parts[0]}") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert file.read_text() == "two years of work"
    assert [path for path in (toys / "mine").rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"status": "done"}', '{"status": "finished", "metrics": [1]}']
)
def test_a_damaged_state_file_is_said_in_one_line(toys: Path, finished: Path, content: str) -> None:
    (finished / "run.json").write_text(content)
    for attempt in (
        lambda: fit(Language(), Rows(), SHORT, resume=finished),
        lambda: run(ExperimentConfig("toys", trainer=SHORT), resume=finished),
    ):
        with pytest.raises(InputError, match=r"run\.json") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    shutil.copytree(finished, toys / "runs" / "toys" / "damaged")
    with pytest.raises(InputError, match="no unfinished run"):
        run(ExperimentConfig("toys", trainer=SHORT), resume="latest")


@pytest.mark.parametrize("line", [b"garbage\n", b"[1]\n", b'{"step": "x"}\n', b'{"loss": 1}\n', b"\xff\xfe\n"])
def test_a_line_of_the_metrics_that_is_not_ours_is_named(unfinished: Path, line: bytes) -> None:
    metrics = unfinished / "metrics.jsonl"
    metrics.write_bytes(line + metrics.read_bytes())
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1") as caught:
        fit(Language(), Rows(), SHORT, resume=unfinished)
    assert "\n" not in str(caught.value)


def test_a_last_line_that_a_power_cut_left_is_dropped(unfinished: Path) -> None:
    metrics = unfinished / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + b'{"step": 2, "tr\0\0\0\xff')
    fit(Language(), Rows(), SHORT, resume=unfinished)
    assert metrics.read_bytes().startswith(whole) and b"\0" not in metrics.read_bytes()


def test_a_finished_run_without_its_adapter_says_so(toys: Path, finished: Path) -> None:
    shutil.rmtree(finished / "adapter")
    with pytest.raises(InputError, match=r"marked as finished and .* holds no adapter"):
        fit(Language(), Rows(), SHORT, resume=finished)
    config = ExperimentConfig("toys", task="staged", trainer=SHORT)
    whole = run(config, run_dir=toys / "staged").folder
    state = json.loads((whole / "run.json").read_text())
    (whole / "run.json").write_text(json.dumps({**state, "status": "running"}))
    shutil.rmtree(whole / "first" / "adapter")
    with pytest.raises(InputError, match=r"first is marked as finished and .* holds no adapter"):
        run(config, resume=whole)


def test_what_a_crash_left_half_written_is_swept_and_nothing_else(unfinished: Path) -> None:
    debris = [
        ".last.ckpt.part",
        ".adapter.abcd_123.part/file",
        ".run.json.00000000.part",
        "plots/.loss.png.zzzzzzzz.part",
    ]
    kept = [".notes.part", ".hidden", "notes.old", "plots/.mine.old"]
    for name in (*debris, *kept):
        (unfinished / name).parent.mkdir(exist_ok=True)
        (unfinished / name).write_text("x")
    (unfinished / ".steps.abcdefgh.old").mkdir()
    (unfinished / "samples").mkdir()
    (unfinished / "samples" / "picture").touch()
    (unfinished / "samples").rename(unfinished / ".steps.abcdefgh.old" / "old")
    fit(Language(), Rows(), SHORT, resume=unfinished)
    assert not [name for name in debris if (unfinished / name).exists()]
    assert all((unfinished / name).is_file() for name in kept)
    # Killed between two renames, a writer leaves the old folder beside its place: that is no debris.
    assert (unfinished / "steps" / "picture").is_file() and not (unfinished / ".steps.abcdefgh.old").exists()


def test_a_folder_that_cannot_be_made_is_named(toys: Path) -> None:
    (toys / "file").touch()
    for attempt in (
        lambda: fit(Language(), Rows(), SHORT, folder=toys / "file" / "run"),
        lambda: run(ExperimentConfig("toys", trainer=SHORT), run_dir=toys / "file" / "run"),
    ):
        with pytest.raises(InputError, match="cannot be written"):
            attempt()


def test_an_interrupted_stage_names_the_whole_run(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import signal

    compute: Callable[..., Any] = Voice.compute
    monkeypatch.setattr(Voice, "compute", lambda self, batch: (signal.raise_signal(2), compute(self, batch))[1])
    with pytest.raises(Interrupted) as caught:
        run(ExperimentConfig("toys", task="staged", trainer=SHORT), run_dir=toys / "whole")
    assert caught.value.folder == toys / "whole"
    said = capfd.readouterr().err
    assert f"--resume {toys / 'whole'}\n" in said and str(toys / "whole" / "first") not in said
    assert json.loads((toys / "whole" / "run.json").read_text())["status"] == "interrupted"


class FullDisk(Procedure):
    """The system's error of a full disk, wherever it comes from."""

    def on_train_end(self, *_: Any) -> None:
        raise OSError(28, os.strerror(28))


def test_a_full_disk_in_a_stage_names_the_whole_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"No space left.*--resume {tmp_path}$"):
        fit(Language(), Rows(), SHORT, [FullDisk()], folder=tmp_path / "stage", part_of=tmp_path)


def test_a_full_disk_in_a_thread_of_a_logger_prints_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from suite.training.folder import RunFolder
    from suite.training.opening import opened

    def work(number: int) -> None:
        raise OSError(number, os.strerror(number))

    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    hook = threading.excepthook
    with opened(RunFolder(tmp_path / "run")):
        for number in (28, 2):
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            thread.join()
    assert [error.exc_value.errno for error in printed if isinstance(error.exc_value, OSError)] == [2]
    assert threading.excepthook is hook
