"""The benchmarks of methods run, and the page says what they kept."""

from __future__ import annotations

import pytest

from benchmarks import methods, methods_page, selection


def test_what_methods_cost_is_measured_beside_what_others_compute(capsys: pytest.CaptureFixture[str]) -> None:
    assert methods.main(["--only", "ssf", "lora", "krona", "--hosts", "conv", "--repeats", "1"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "released" in lines["ssf"] and "peft" in lines["lora"] and "krona" not in lines
    assert "of 2" in lines["beside:"]


def test_claims_of_memory_hold_at_any_size() -> None:
    assert selection.neuroada(512)["met"] and selection.sift(64)["met"]


def test_the_page_says_what_was_measured() -> None:
    text = methods_page.PAGE.read_text(encoding="utf-8")
    assert methods_page.written(text) == text, "run `python -m benchmarks.methods_page`"
    assert methods_page.PICTURE.is_file()
