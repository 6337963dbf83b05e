"""Trained parameters of the published configurations, and what they are held against."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
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
# Of transformers, nobody's published ones: layers by in and out width, times a1 a2 + (out / a1)(in / a2) of (16, 64).
FLOWS = {
    "sd3": ((24 * 8 - 1 + 13 * 4, 1536, 1536),),  # the last block's text stream has no way out
    "flux": ((19 * 8 + 38 * 3, 3072, 3072),),
    "flux2": ((5 * 8, 3072, 3072), (20, 3072, 3 * 3072 + 2 * 9216), (20, 3072 + 9216, 3072)),
    "qwen_image": ((60 * 8, 3072, 3072),),
    "z_image": ((34 * 4, 3840, 3840),),
}
# Of the networks that the configurations state.
WHOLE = {
    "sd3": 2_243_171_520,
    "flux": 11_901_408_320,
    "flux2": 3_875_544_576,
    "qwen_image": 20_430_401_088,
    "z_image": 6_154_908_736,
}


@cache
def counted(name: str, *overrides: str) -> dict:
    words = ("personalized_diffusion", "count", "--config", str(CONFIGS / f"{name}.yaml"), *overrides, "--json")
    with redirect_stdout(StringIO()) as printed:
        assert main(words) == 0
    return json.loads(printed.getvalue())


def fewer(found: dict, than: str) -> float:
    [row] = [row for row in found["comparisons"] if row["with"].startswith(than)]
    return row["fewer_percent"]


@pytest.mark.parametrize("name", FLOWS)
def test_counts_of_transformers_are_those_of_their_layers(name: str) -> None:
    found = counted(name)
    assert found["trainable"] == sum(n * (16 * 64 + (out // 16) * (into // 64)) for n, into, out in FLOWS[name])
    [lora] = [row["parameters"] for row in found["comparisons"] if row["with"].startswith("LoRA")]
    assert lora == sum(n * 4 * (into + out) for n, into, out in FLOWS[name])
    assert found["total"] - found["trainable"] == WHOLE[name]


@pytest.mark.parametrize(("name", "trainable"), PUBLISHED.items())
def test_acceptance_12_2_counts_are_the_published_ones(name: str, trainable: int) -> None:
    assert counted(name)["trainable"] == trainable


def test_acceptance_12_2_the_papers_percentages_with_their_bases() -> None:
    sdxl, text = counted("sdxl"), counted("sd15_text")
    small = counted("sdxl", "--recipe.adapter.factors", "[16, 64]")
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
