"""Trained parameters of the published configurations, and what they are held against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.cli.main import main

CONFIGS = Path(__file__).parents[2] / "configs" / "personalized_diffusion"

PUBLISHED = {
    "sdxl": 3_874_560,
    "sd15": 398_048,
    "sd21": 423_008,
    "sd15_text": 520_928,
    "official_sdxl": 2_152_320,
    "official_sd": 260_656,
    "lora_sdxl": 5_806_080,
}


def counted(capsys: pytest.CaptureFixture[str], name: str, *overrides: str) -> dict:
    words = ("personalized_diffusion", "count", "--config", str(CONFIGS / f"{name}.yaml"), *overrides, "--json")
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


def fewer(found: dict, than: str) -> float:
    [row] = [row for row in found["comparisons"] if row["with"].startswith(than)]
    return row["fewer_percent"]


@pytest.mark.parametrize(("name", "trainable"), PUBLISHED.items())
def test_acceptance_12_2_counts_are_the_published_ones(
    capsys: pytest.CaptureFixture[str], name: str, trainable: int
) -> None:
    assert counted(capsys, name)["trainable"] == trainable


def test_acceptance_12_2_the_papers_percentages_with_their_bases(capsys: pytest.CaptureFixture[str]) -> None:
    sdxl, text = counted(capsys, "sdxl"), counted(capsys, "sd15_text")
    small = counted(capsys, "sdxl", "--recipe.adapter.factors", "[16, 64]")
    assert fewer(sdxl, "LoRA of rank 4") == pytest.approx(33.27, abs=0.005)
    assert fewer(sdxl, "full DreamBooth of the unet") == pytest.approx(99.849, abs=0.0005)
    assert fewer(text, "LoRA of rank 4") == pytest.approx(52.3, abs=0.005)
    assert fewer(text, "full DreamBooth of the unet and text encoder") == pytest.approx(99.947, abs=0.0005)
    assert fewer(small, "LoRA of rank 4") == pytest.approx(74.06, abs=0.005)


def test_a_person_reads_the_percentages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("personalized_diffusion", "count", "--config", str(CONFIGS / "sdxl.yaml"))) == 0
    text = capsys.readouterr().out
    assert "3,874,560" in text
    assert "33.267 % fewer than LoRA of rank 4 on the same projections (5,806,080)" in text
    assert "99.849 % fewer than full DreamBooth of the unet (2,567,463,684)" in text
    assert "80.018 % more than factors (8, 64) (2,152,320)" in text and "than factors (4, 64)" not in text


def test_factors_that_do_not_divide_are_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("personalized_diffusion", "count", "--config", str(CONFIGS / "sd15.yaml"))
    assert main((*words, "--recipe.adapter.factors", "[4, 128]")) == 2
    said = capsys.readouterr().err
    assert "a2=128 does not divide 320" in said and "attn1.to_q (320 in, 320 out): use 80 or 160" in said
    assert "\n" not in said.strip()
