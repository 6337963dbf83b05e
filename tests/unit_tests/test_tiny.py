"""The embedded adapter, and the command that makes it again."""

from __future__ import annotations

import pytest
import yaml

from domains.unit_tests import tiny
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.model.study import METHODS
from suite.hub import paths
from suite.training import embedded


def test_the_card_says_what_the_catalogue_says_and_names_the_frozen_base():
    card = (embedded.home("unit_tests") / "adapter" / "README.md").read_text()
    entry = yaml.safe_load((paths.checkpoints() / "index.yaml").read_text())["adapters"]["unit_tests/tiny"]
    assert entry["base"] == "tiny" and f"tests {entry['metric']['value']:.3f} run, pass and cover" in card
    assert entry["metric"]["data"].startswith(f"world:test:{tiny.FUNCTIONS}") and "The frozen base" in card
    assert "python -m domains.unit_tests.tiny" in card and entry["size"] < 8_000_000


@pytest.mark.parametrize("method", METHODS)
def test_the_comparison_trains_the_studys_methods_by_the_shipped_configuration(method):
    config = tiny.experiment(method, 43)
    assert config.seed == 43 and config.data["train"] == tiny.experiment("lora", 42).data["train"]
    section = config.recipe["adapter"]
    assert section.get("method", section.get("preset")) == method
    assert config.trainer.max_epochs == tiny.experiment("lora", 42).trainer.max_epochs


@pytest.mark.slow
@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_half_of_the_tests_for_held_out_functions_run_pass_and_cover_them():
    adapted = tiny.measure("tiny", functions=20, mutants=8)
    frozen = tiny.measure(None, functions=20)
    assert adapted["working_share"] >= 0.5 and adapted["mutation_score"] > 0.5
    assert adapted["working_share"] > frozen["working_share"] + 0.3
