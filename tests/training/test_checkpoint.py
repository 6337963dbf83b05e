"""`last.ckpt`: never damaged by us, and refused in one line where something else damaged it."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.errors import InputError
from suite.training import Procedure, TrainerConfig, fit
from tests.training.toys import Language, Rows

SHORT = TrainerConfig(max_steps=4, lr=1e-2, limit_val_batches=0, checkpoint_every=1, log_every=50)


class CutOff(Procedure):
    """Ends the run after a number of steps, as a crash would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.steps:
            raise EOFError("cut off")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has three of four steps behind it."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(EOFError):
        fit(Language(), Rows(), SHORT, [CutOff(3)], folder=folder)
    return folder


def first_tensor(content: bytes) -> bytes:
    """The bytes of the first trained tensor of a checkpoint."""
    return next(iter(torch.load(io.BytesIO(content), weights_only=True)["state_dict"].values())).numpy().tobytes()


def flipped(content: bytes) -> bytes:
    """The content with one bit of a trained number changed."""
    place = content.index(first_tensor(content))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def pickled(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"global_step": 3, "state_dict": {}, "object": TrainerConfig()}, file)
    return file.getvalue()


def foreign(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"model": torch.zeros(3)}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        pickled,
        foreign,
        lambda content: b"",
        lambda content: content[:-100],
        lambda content: content[: len(content) // 2],
        lambda content: b"not a checkpoint",
        lambda content: pickle.dumps({"global_step": 3}),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_in_one_line(
    stopped: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    checkpoint = run / "last.ckpt"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(InputError, match=r"last\.ckpt") as caught:
        fit(Language(), Rows(), SHORT, resume=run)
    assert "\n" not in str(caught.value) and json.loads((run / "run.json").read_text())["status"] == "running"


def test_every_flipped_bit_of_the_tensors_is_seen(stopped: Path, tmp_path: Path) -> None:
    from suite.training.checkpointing import read_checkpoint

    content = (stopped / "last.ckpt").read_bytes()
    first = first_tensor(content)
    start = content.index(first)
    file = tmp_path / "last.ckpt"
    for place in range(start, start + len(first), 37):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(InputError, match="damaged"):
            read_checkpoint(file)


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path: Path) -> None:
    class Boom(Language):
        def compute(self, batch: Any) -> Any:
            outputs = super().compute(batch)
            if self.training and self.trainer.global_step == 3:
                outputs.loss = outputs.loss * float("nan")
            return outputs

    with pytest.raises(InputError, match=r"no longer finite after step 4.*step 3") as caught:
        fit(Boom(), Rows(), replace(SHORT, max_steps=20, keep_every=1), folder=tmp_path / "run")
    assert "\n" not in str(caught.value)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3 and all(bool(tensor.isfinite().all()) for tensor in saved["state_dict"].values())
    kept = [path.name for path in (tmp_path / "run" / "steps").iterdir()]
    assert sorted(kept) == ["step_000001", "step_000002", "step_000003"]


def test_a_full_disk_is_said_in_one_line_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, saves = torch.save, []

    def full(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        saves.append(file)
        if len(saves) < 3:
            return whole(content, file, *args, **kwargs)
        if isinstance(file, str | os.PathLike):
            Path(file).write_bytes(b"half")
        else:
            file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(InputError, match="No space left on device") as caught:
            fit(Language(), Rows(), SHORT, folder=run)
    assert f"--resume {run}" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(run.glob(".*.part"))
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 2
    fit(Language(), Rows(), SHORT, resume=run)


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, rename = os.fsync, os.replace

    def fsync(handle: int) -> None:
        done.append("flush " + os.readlink(f"/proc/self/fd/{handle}"))
        flush(handle)

    def replace_(source: Any, target: Any, **kwargs: Any) -> None:
        done.append(f"rename {target}")
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace_)
    run = tmp_path / "run"
    fit(Language(), Rows(), replace(SHORT, max_steps=1), folder=run)
    place = done.index(f"rename {run / 'last.ckpt'}")
    assert done[place - 1].startswith(f"flush {run}/.last.ckpt") and done[place + 1] == f"flush {run}"
