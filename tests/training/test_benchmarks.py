"""The trainer's benchmarks run, and say what they cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import trainer_overhead
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.claim import Claim, Figure, device_peak
from benchmarks.gpu.llama import FULL, flop_per_token

CLAIMS = ("bf16", "nf4", "parts", "layers", "unet", "tempme", "faces", "tracking", "musicgen", "reviews")


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_about_a_gpu_run_on_tiny_shapes(claim: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--smoke", "--only", claim]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"│ {claim} ", shown)
    assert "not measured" not in shown


def test_what_fails_or_finds_no_time_is_named_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(setting: object) -> Iterator[Figure]:
        yield Figure("before it fails", 3.0, "x", goal=2.0)
        raise ValueError("no such kernel")

    claims = (
        Claim("long", "takes long", 1e9, lambda setting: iter(())),
        Claim("bad", "breaks", 1.0, fails),
        Claim("rare", "needs much", 1.0, lambda setting: iter(()), needs=("no_such_package",)),
        Claim("good", "works", 1.0, lambda setting: iter([Figure("a ratio", 0.8, "x", 0.72, "at most")])),
    )
    monkeypatch.setattr(gpu, "CLAIMS", claims)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    assert gpu.main(["--save", str(tmp_path / "gpu.json")]) == 1
    shown = capsys.readouterr().out
    assert "not measured: long (takes long): takes 1000000000 s and " in shown
    assert "not measured: bad (breaks): failed: ValueError: no such kernel" in shown
    assert "not measured: rare (needs much): no_such_package is not installed" in shown
    assert re.search(r"before it fails.*>= 2.*holds", shown) and re.search(r"a ratio.*<= 0.72.*MISSED", shown)
    assert "1 of 2 goals hold" in shown
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved["claims"]["good"][0]["holds"] is False and set(saved["not measured"]) == {"long", "bad", "rare"}


def test_the_gpu_benchmark_refuses_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "needs a GPU" in capsys.readouterr().err
    assert gpu.main(["--smoke", "--save"]) == 2


def test_flop_of_a_token_follow_the_formula() -> None:
    # 32 layers of 4 d^2 + 3 d f and the head; LoRA's A and B on all seven; c = 256.5 of 512-token documents.
    d, f, vocabulary, layers = 4096, 11008, 32000, 32
    matrices = layers * (4 * d * d + 3 * d * f) + vocabulary * d
    adapter = 16 * layers * (4 * 2 * d + 3 * (d + f))
    wanted = 4 * matrices + 6 * adapter + 12 * 256.5 * d * layers
    assert flop_per_token(FULL) == pytest.approx(wanted)
    assert device_peak("NVIDIA H200") == 989.0 and device_peak("Unknown") is None


def test_the_overhead_benchmark_takes_the_time_of_every_step() -> None:
    timed = trainer_overhead.measure(repeats=1, rows=1)
    ((trainer, bare),) = timed.repeats("wall")
    assert trainer > 0 and bare > 0
    assert len(timed.times["wall"]) == 2 * trainer_overhead.STEPS_A_REPEAT + 1
