"""What a run on a GPU would choose, seen on a CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from suite.training import TrainerConfig
from suite.training.choices import Capability, Load, choose

CPU = Capability("cpu")
GPU = Capability("cuda", bf16=True)
OLD_GPU = Capability("cuda", bf16=False)
LLAMA = Load(steps=1000, parameters=6_600_000_000, kinds=1)


def test_a_gpu_trains_in_bfloat16_fused_and_by_blocks() -> None:
    chosen = choose(TrainerConfig(), GPU, torch.bfloat16, LLAMA)
    assert (chosen.precision, chosen.cast, chosen.base) == ("bf16", True, torch.bfloat16)
    assert (chosen.fused, chosen.clip, chosen.deterministic, chosen.compile) == (True, 1.0, False, "blocks")
    assert not choose(TrainerConfig(), GPU, torch.float32, LLAMA).cast
    assert not choose(TrainerConfig(), GPU, None, LLAMA).cast


def test_a_cpu_and_a_gpu_without_bfloat16_train_in_float32() -> None:
    for device in (CPU, OLD_GPU):
        chosen = choose(TrainerConfig(), device, torch.bfloat16, LLAMA)
        assert (chosen.precision, chosen.cast, chosen.base) == ("32-true", False, torch.float32)
    chosen = choose(TrainerConfig(), CPU, torch.float32, LLAMA)
    assert (chosen.fused, chosen.deterministic, chosen.compile) == (False, True, "off")


@pytest.mark.parametrize(
    ("load", "chosen"),
    [
        (LLAMA, "blocks"),
        (replace(LLAMA, steps=100), "off"),
        (replace(LLAMA, steps=1000, kinds=6), "off"),
        (replace(LLAMA, parameters=1_000_000), "off"),
        (Load(steps=10_000, parameters=1_000_000, kinds=1), "blocks"),
        (None, "off"),
    ],
)
def test_blocks_are_compiled_where_it_pays_back(load: Load | None, chosen: str) -> None:
    assert choose(TrainerConfig(), GPU, torch.bfloat16, load).compile == chosen
    assert choose(TrainerConfig(compile="blocks"), CPU, None, load).compile == "blocks"
    assert choose(TrainerConfig(compile=False), GPU, None, load).compile == "off"
    assert choose(TrainerConfig(strategy="fsdp"), GPU, None, load).compile == "off"


def test_what_the_user_says_stays() -> None:
    config = TrainerConfig(precision="64-true", deterministic=True, compile=True, optimizer="sgd")
    chosen = choose(config, GPU, torch.bfloat16, LLAMA)
    assert (chosen.precision, chosen.cast, chosen.deterministic, chosen.compile) == ("64-true", False, True, "model")
    assert not chosen.fused
    assert choose(TrainerConfig(precision="bf16"), CPU, torch.bfloat16, None).cast
