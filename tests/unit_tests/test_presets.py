"""The study's recipes: what they train on its bases is what the paper prints."""

from __future__ import annotations

import json

import pytest
import yaml

from domains.unit_tests.model.study import BASES, METHODS
from suite.cli.main import main
from suite.hub import paths

FOLDER = paths.assets() / "configs" / "unit_tests"


@pytest.mark.parametrize(
    ("method", "base", "wanted"),
    [
        ("lora", "Salesforce/codegen-350M-multi", 1_310_720),
        ("ia3", "Salesforce/codegen-350M-multi", 143_360),
        ("prompt_tuning", "Salesforce/codegen-350M-multi", 20_480),
        ("lora", "Qwen/Qwen2.5-Coder-14B", 12_582_912),
        ("ia3", "bigcode/starcoder2-7b", 753_664),
        ("ia3", "bigcode/starcoderbase", 1_239_040),
    ],
)
def test_count_gives_the_published_numbers_without_a_download(method, base, wanted, capsys):
    assert (
        main(["unit_tests", "count", "--config", str(FOLDER / f"{method}.yaml"), "--base", f"hf:{base}", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["trainable"] == wanted


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_names_all_bases_with_their_numbers_and_explains_every_line(method):
    text = (FOLDER / f"{method}.yaml").read_text()
    for name, base in BASES.items():
        number = base.published[method]
        if method == "lora" and base.remarks.get("lora"):
            assert f"12,582,912 (misprinted {number:,})" in text
        else:
            assert f"{name.split('/')[1]} {number:,}" in text
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(" # " in line for line in lines), [line for line in lines if " # " not in line]
    assert yaml.safe_load(text)["recipe"]["adapter"] == {"preset": method}
