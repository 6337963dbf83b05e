from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domains.relation_extraction.model.chatglm3 import ChatGLM3Skeleton
from suite import adapters
from suite.training import load_config
from suite.training.experiment import recipe_of

CONFIGS = Path(__file__).parents[2] / "configs" / "relation_extraction"
BLOCK = 4 * 160 * 160 + 3 * 160 * 432 + 2 * 160
"""Parameters of one block of the embedded base."""
MISTRAL, VICUNA, CHATGLM3 = 7_241_732_096, 6_738_415_616, 6_243_584_000


@pytest.mark.parametrize(
    ("config", "trainable", "base", "count"),
    [
        ("mistral_7b", 42_598_400, MISTRAL, 3),
        ("vicuna_7b", 52_428_800, VICUNA, 3),
        ("chatglm3_6b", 24_371_200, CHATGLM3, 3),
        *((name, 127_795_200, MISTRAL, 1) for name in ("d_f", "d_rs_f", "d_r_f", "d_r_h_f", "d_r_h_f_desc")),
    ],
)
def test_published_counts(config, trainable, base, count):
    """One base in memory and the adapters beside it, whatever their number."""
    recipe = recipe_of(load_config(CONFIGS / f"{config}.yaml"))
    with torch.device("meta"):
        recipe.configure_model()
    found = adapters.count(recipe.model)
    assert (found.trainable, found.total) == (trainable, base + count * trainable)


def test_a_configuration_without_architecture_is_counted_by_its_base():
    recipe = recipe_of(load_config(CONFIGS / "smoke.yaml"))
    with torch.device("meta"):
        recipe.configure_model()
    found = adapters.count(recipe.model)
    assert found.total - 3 * found.trainable == recipe.model.config.vocab_size * 160 + 5 * BLOCK + 160


def test_three_adapters_are_as_large_as_the_single_one():
    assert 3 * 42_598_400 == 127_795_200


def test_chatglm3_is_a_shape_only():
    with torch.device("meta"):
        skeleton = ChatGLM3Skeleton(num_layers=1)
    with pytest.raises(ValueError, match="remote code"):
        skeleton(torch.zeros(1, 1, device="meta"))


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_line_of_a_configuration_is_commented(config):
    lines = (CONFIGS / config).read_text(encoding="utf-8").splitlines()
    assert all("#" in line for line in lines if line.strip())
