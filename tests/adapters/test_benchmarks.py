"""The benchmarks of methods run."""

from __future__ import annotations

import pytest

from benchmarks import methods, selection


def test_what_methods_cost_is_measured_beside_what_others_compute(capsys: pytest.CaptureFixture[str]) -> None:
    assert methods.main(["--only", "ssf", "lora", "krona", "--hosts", "conv", "--repeats", "1"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "released" in lines["ssf"] and "peft" in lines["lora"] and "krona" not in lines
    assert "of 2" in lines["beside:"]


def test_claims_of_memory_hold_at_any_size() -> None:
    assert selection.neuroada(512)["met"] and selection.sift(64)["met"]
