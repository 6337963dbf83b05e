"""The trainer's benchmarks run, and say what they cannot do."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks import llama7b_gpu, trainer_overhead


def test_the_gpu_benchmark_runs_both_trainers_on_a_tiny_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama7b_gpu.main(["--smoke", "--rounds", "1", "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^suite +\d+ tokens/s", shown, re.MULTILINE)
    assert re.search(r"^peft \+ transformers +\d+ tokens/s", shown, re.MULTILINE)
    assert re.search(r"suite / peft \+ transformers: \d+\.\d\d", shown)


def test_the_gpu_benchmark_refuses_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert llama7b_gpu.main([]) == 2
    assert "needs a GPU" in capsys.readouterr().err
    assert llama7b_gpu.main(["--smoke", "--save"]) == 2


def test_flop_of_a_token_follow_the_formula() -> None:
    # 32 layers of 4 d^2 + 3 d f and the head; LoRA's A and B on all seven; c = 256.5 of 512-token documents.
    d, f, vocabulary, layers = 4096, 11008, 32000, 32
    matrices = layers * (4 * d * d + 3 * d * f) + vocabulary * d
    adapter = 16 * layers * (4 * 2 * d + 3 * (d + f))
    wanted = 4 * matrices + 6 * adapter + 12 * 256.5 * d * layers
    assert llama7b_gpu.flop_per_token(llama7b_gpu.FULL) == pytest.approx(wanted)
    assert llama7b_gpu.device_peak("NVIDIA H200") == 989.0 and llama7b_gpu.device_peak("Unknown") is None


def test_the_overhead_benchmark_takes_the_time_of_every_step() -> None:
    timed = trainer_overhead.measure(repeats=1, rows=1)
    ((trainer, bare),) = timed.repeats("wall")
    assert trainer > 0 and bare > 0
    assert len(timed.times["wall"]) == 2 * trainer_overhead.STEPS_A_REPEAT + 1
