"""Configurations: what is read, what is refused and with which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml

from suite.errors import InputError
from suite.training import TrainerConfig, load_config
from suite.training.construct import construct
from suite.training.module import AdapterModule

TEXT = "domain: toys\nseed: 7\nrecipe: {r: 4}\ntrainer: {max_epochs: 3, lr: 1.0e-3}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "toy.yaml"
    file.write_text(TEXT)
    return file


def test_reads_every_section_and_gives_the_seed_to_the_trainer(path: Path) -> None:
    config = load_config(path)
    assert (config.domain, config.base, config.seed, config.recipe) == ("toys", "tiny", 7, {"r": 4})
    assert config.trainer == TrainerConfig(max_epochs=3, lr=1e-3, seed=7)
    assert config.source == path


def test_overrides_reach_every_section_in_both_spellings(path: Path) -> None:
    words = ["--trainer.max_epochs", "9", "--trainer.lr=2e-5", "--recipe.r", "16", "--data.path=x.json", "--seed", "1"]
    config = load_config(path, [*words, "--trainer.monitor", "val/f1", "--recipe.targets", "[q_proj, v_proj]"])
    assert (config.trainer.max_epochs, config.trainer.lr, config.trainer.seed) == (9, 2e-5, 1)
    assert config.trainer.monitor == "val/f1"
    assert config.recipe == {"r": 16, "targets": ["q_proj", "v_proj"]} and config.data == {"path": "x.json"}


def test_the_record_reads_back_to_the_same_experiment(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["--trainer.ema=0.9", "--architecture.class", "LlamaForCausalLM"])
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.record()))
    assert load_config(again).record() == config.record()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.max_epoch", "3"], "unknown key 'max_epoch'; did you mean max_epochs"),
        (["--recipes.r", "3"], "unknown key 'recipes'; did you mean recipe"),
        (["--trainer.max_epochs", "many"], "max_epochs"),
        (["--trainer.scheduler", "cosin"], "scheduler"),
        (["--trainer.lr", "0"], "trainer.lr is 0"),
        (["--trainer.max_epochs", "-1"], "set no end"),
        (["--trainer.seed", "3"], "top level"),
        (["--trainer.ema", "2"], "decay between 0 and 1"),
        (["--trainer.max_epochs"], "has no value"),
        (["trainer.max_epochs", "3"], "cannot read"),
        (["--seed.x", "3"], "seed is no section"),
        (["--data", "[1"], "not a YAML value"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(path: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(path, words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a list\n", "domain: [\n", "", "trainer: 3\ndomain: x\n", "[" * 5000])
def test_files_that_hold_no_configuration(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        load_config(file)
    with pytest.raises(InputError, match="no configuration file"):
        load_config(tmp_path / "absent.yaml")


def test_reading_a_configuration_loads_no_torch(path: Path) -> None:
    code = (
        f"import sys; from suite.training import load_config; load_config({str(path)!r}); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_next_command_can_be_pasted_whatever_the_run_is_called() -> None:
    assert AdapterModule.adapter_of(Path("runs/my run")) == "'./runs/my run/adapter'"
    assert AdapterModule.adapter_of(Path("/runs/mine")) == "/runs/mine/adapter"


class Kinds:
    def __init__(self, head: Literal["a", "b"] = "a", on: bool | None = None, count: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"head": "mlp"}, "recipe.head is mlp; give one of 'a', 'b'"),
        ({"on": "maybe"}, "recipe.on is maybe; give true or false or null"),
        ({"count": "two"}, "recipe.count is two; give a whole number"),
    ],
)
def test_a_value_of_another_kind_is_told_in_the_words_of_the_file(section: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        construct(Kinds, section, "recipe", {})
    assert str(caught.value) == message
