"""What holds for every method of ours beyond the contract: other processes, files of nothing but the adapter, DDP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from suite import adapters
from suite.adapters.carriers.base import TunerLayer
from tests.adapters.cases import SUBJECTS, arguments, fresh, home, ours, randomise, sample

pytestmark = [pytest.mark.usefixtures("quiet_and_seeded"), pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).resolve().parents[2]
LOADING = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from safetensors.torch import save_file
from suite import adapters
from tests.adapters.cases import SUBJECTS, fresh, home, sample
outputs = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    subject = home(folder.name)
    model = adapters.load(fresh(subject), folder).eval()
    with torch.no_grad():
        outputs[folder.name] = SUBJECTS[subject].run(model, sample(subject)).contiguous()
save_file(outputs, sys.argv[2])
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}


@pytest.mark.slow
def test_another_process_loads_what_this_one_saved(tmp_path: Path) -> None:
    expected = {}
    for method in ours():
        subject = home(method)
        model = adapters.attach(fresh(subject), method, **arguments(method, subject)).eval()
        randomise(model)
        with torch.no_grad():
            expected[method] = SUBJECTS[subject].run(model, sample(subject)).contiguous()
        adapters.save(model, tmp_path / "saved" / method, base="tiny")
    command = [sys.executable, "-c", LOADING, tmp_path / "saved", tmp_path / "outputs.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = load_file(tmp_path / "outputs.safetensors")
    differ = [name for name in expected if not torch.allclose(outputs[name], expected[name], atol=1e-6, rtol=0)]
    assert outputs.keys() == expected.keys() and not differ, differ


@pytest.mark.parametrize("method", ours())
def test_a_file_holds_the_adapter_and_nothing_else(method: str, tmp_path: Path) -> None:
    """What trains, each number once, what the method declares to keep beside it, and a header."""
    subject = home(method)
    model = adapters.attach(fresh(subject), method, **arguments(method, subject))
    adapters.save(model, tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    state = load_file(file)
    kept = {name for _, layer in adapters.layers(model) if isinstance(layer, TunerLayer) for name in layer.buffer_names}
    trained = {key: tensor for key, tensor in state.items() if key.rpartition(f"{method}_")[2] not in kept}
    assert all(method in key for key in state) or method in ("bitfit", "parameters")
    scheduled = adapters.methods()[method].procedure is not None  # less than all that trains, in the end
    expected = sum(tensor.numel() for tensor in trained.values())
    trains = adapters.count(model).trainable
    assert expected == trains or (scheduled and expected < trains) or method in ("bitfit", "parameters")
    with safe_open(file, "pt") as opened:
        assert set(opened.metadata() or {}) <= {"format"}
    body = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert 0 < file.stat().st_size - body < 200 * (1 + len(state))
    save_file(state, tmp_path / "again.safetensors", {"format": "pt"})
    assert (tmp_path / "again.safetensors").stat().st_size == file.stat().st_size


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_the_whole_batch() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.adapters.distributed_methods"]
    processes = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**common, "RANK": str(rank)}
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=800) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-2000:]
    said = dict(line.split() for line in outputs[0][0].splitlines())
    assert said.keys() == set(ours())
    assert [method for method, result in said.items() if result != "same"] == []
