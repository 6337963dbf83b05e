"""Two processes train the adapter that one process trains at the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from suite.training import fit
from tests.training.toys import Language, double_precision, rows_over


# Both processes import everything anew, which takes minutes on a machine that is busy with other things.
@pytest.mark.timeout(900)
def test_two_processes_equal_one_on_ragged_batches_in_float64(tmp_path: Path) -> None:
    two = tmp_path / "two"
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.toys", str(two), "ddp"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        # Two processes on few cores: more threads would wait for each other.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one = fit(Language(dropout=0.0), rows_over(1), double_precision(1), folder=tmp_path / "one").folder
    first, second = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two))
    assert next(iter(first.values())).dtype == torch.float64
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-6
