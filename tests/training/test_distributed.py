"""Two processes train the adapter that one process trains at the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from suite import adapters
from suite.training import fit
from tests.cli.conftest import entry_point
from tests.training.toys import Language, double_precision, in_turn, rows_over, sharded

# Both processes import everything anew, which takes minutes on a machine that is busy with other things.
CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(900)


def test_two_processes_equal_one_on_ragged_batches_in_float64(tmp_path: Path) -> None:
    done = launch(tmp_path / "two", "ddp")
    assert done.returncode == 0, done.stderr[-2000:]
    fit(Language(dropout=0.0), rows_over(1), double_precision(1), folder=tmp_path / "one")
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-6


def test_a_base_cut_over_two_processes_equals_a_whole_one_also_when_resumed(tmp_path: Path) -> None:
    died = launch(tmp_path / "two", "fsdp")
    assert died.returncode != 0 and "Dead" in died.stderr, died.stderr[-2000:]
    assert not (tmp_path / "two" / "one" / "adapter").exists()
    done = launch(tmp_path / "two", "fsdp")
    assert done.returncode == 0, done.stderr[-2000:]
    fit(Language(dropout=0.0), rows_over(1), sharded(1), folder=tmp_path / "one")
    assert difference(tmp_path / "one", tmp_path / "two" / "one") < 1e-6
    assert adapters.read_manifest(tmp_path / "two" / "one" / "adapter")["domain"] == {"held": 0.5}
    in_turn(1, tmp_path / "turns")
    assert difference(tmp_path / "turns", tmp_path / "two" / "turns") < 1e-6


def test_the_command_trains_on_two_devices_and_speaks_once(tmp_path: Path) -> None:
    site = entry_point(tmp_path / "site", fake="tests.domains.fake:DOMAIN")
    config = tmp_path / "fake.yaml"
    config.write_text("domain: fake\ndata: {size: 64}\ntrainer: {accelerator: cpu, devices: 2, strategy: fsdp}\n")
    done = subprocess.run(
        [sys.executable, "-m", "suite", "fake", "train", "--config", config, "--run-dir", tmp_path / "run", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(site), str(CHECKOUT)))},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["metrics"]["val/accuracy"] > 0 and Path(said["adapter"], "adapter_model.safetensors").is_file()
    assert done.stderr.count("report   ") == 1


def launch(folder: Path, strategy: str) -> subprocess.CompletedProcess[str]:
    """Train a toy by two processes."""
    return subprocess.run(
        [sys.executable, "-m", "tests.training.toys", str(folder), strategy],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        # Two processes on few cores: more threads would wait for each other.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def difference(one: Path, other: Path) -> float:
    """The largest between two runs' adapters, which are in float64."""
    found = 0.0
    for file in (one / "adapter").rglob("*.safetensors"):
        first, second = load_file(file), load_file(other / file.relative_to(one))
        assert first.keys() == second.keys() and all(tensor.dtype == torch.float64 for tensor in first.values())
        found = max(found, *(float((first[name] - second[name]).abs().max()) for name in first))
    return found
