"""The acceptance list: item 1, and what the shipped base must show. The others stand with what they accept.

`grep -rn acceptance_12 tests/personalized_diffusion` names items 2 to 8 and 10; item 9 is all of `test_bad_input.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from domains.personalized_diffusion.evaluation.compare import compare
from domains.personalized_diffusion.evaluation.evaluate import evaluate
from suite import adapters, hub
from tests.golden.registry import run_official

KINDS = ("krona_layer", "unet_sd_small", "unet_sdxl_small", "lokr", "dreambooth_batch", "metrics", "keys")


@pytest.mark.parametrize("name", KINDS)
def test_acceptance_12_1_official_cases(name: str) -> None:
    run_official(f"personalized_diffusion/{name}")


@pytest.mark.parametrize(("a1", "a2"), [(4, 3), (2, 6), (8, 12)])
def test_acceptance_12_1_the_papers_layout_is_torchs_product(a1: int, a2: int) -> None:
    model = nn.Sequential(nn.Linear(12, 16, bias=False))
    nn.init.zeros_(model[0].weight)
    adapters.attach(model, "krona", targets=["0"], a1=a1, a2=a2, layout="kron")
    a, b = (nn.init.normal_(model[0].tensor(part, "default").data) for part in ("a", "b"))
    assert a.shape == (a1, a2) and b.shape == (16 // a1, 12 // a2)
    delta = model(torch.eye(12)).T
    torch.testing.assert_close(delta, torch.kron(a, b), atol=1e-6, rtol=0, check_stride=False)
    adapters.merge(model)
    torch.testing.assert_close(model[0].weight.data, torch.kron(a, b), atol=1e-6, rtol=0)


def test_the_catalogues_metric_is_what_the_documented_command_prints() -> None:
    [entry] = [one for one in hub.catalogue("personalized_diffusion", "adapter") if one.name == "tiny"]
    assert entry.metric is not None and round(evaluate()["metrics"]["dino"], 3) == entry.metric.value


@pytest.mark.slow
def test_the_tiny_base_learns_a_subject_and_still_follows_prompts(tmp_path: Path) -> None:
    """Three of the page's seeds of KronA and LoRA by the shipped recipe, against the frozen base."""
    record = compare(methods=("krona", "lora"), seeds=(42, 43, 44), out=tmp_path)
    base, krona, lora = record["rows"]
    assert krona["metrics"]["dino"] - base["metrics"]["dino"] > krona["spread"]["dino"]
    assert krona["metrics"]["clip_t"] > 0.9 * base["metrics"]["clip_t"]
    assert krona["metrics"]["dino"] >= lora["metrics"]["dino"] - lora["spread"]["dino"]
    assert krona["parameters"] <= 0.67 * lora["parameters"]
    assert (tmp_path / "comparison.png").is_file()
