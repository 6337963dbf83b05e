"""The authors' settings as ours: names, defaults, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from domains.deepfake.model import attachments, bases
from domains.deepfake.model.losses import LossWeights
from domains.deepfake.official.config import PUBLISHED, config, translate
from domains.deepfake.recipe import DeepfakeRecipe
from suite import adapters, training
from suite.cli.main import main
from suite.errors import InputError
from suite.hub import paths

RUN: dict[str, Any] = {
    "run_name": "example-run",
    "backbone": "openai/clip-vit-large-patch14",
    "head": "LinearNorm",
    "peft": {"enabled": True, "ln_tuning": {"enabled": True}},
    "loss": {"ce_labels": 1.0},
    "slerp_feature_augmentation": True,
    "batch_size": 128,
    "mini_batch_size": 32,
    "lr": 8e-5,
    "min_lr": 5e-5,
    "max_epochs": 10,
    "limit_val_files": 16384,
    "trn_files": ["lists/DF.txt", "lists/real.txt"],
    "val_files": ["lists/CDF.txt"],
    "tst_files": {"CDF": ["lists/a.txt", "lists/b.txt"]},
}
"""The published run, its accumulation apart."""


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "hparams.yaml"
    content = {**RUN, **changes}
    path.write_text(yaml.safe_dump({name: value for name, value in content.items() if value != "left out"}))
    return path


def trained(section: dict[str, Any]) -> int:
    """Numbers that a section trains of a ViT-L/14."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", {**sizes, "patch_size": 14})
        section_ = attachments.AdapterSection.of(section, attachments.PRESETS)
        return adapters.count(attachments.attach_section(model, section_)).trainable


def test_the_published_run_is_a_configuration_that_trains(tmp_path: Path) -> None:
    told = config(write(tmp_path), out=tmp_path / "mine.yaml")
    mine = training.load_config(tmp_path / "mine.yaml")
    recipe = DeepfakeRecipe(base="none", **mine.recipe)
    assert recipe.slerp and recipe.loss == LossWeights() and recipe.min_lr == 5e-5 and recipe.head == "LinearNorm"
    assert (mine.base, mine.trainer.lr, mine.trainer.max_epochs) == ("hf:openai/clip-vit-large-patch14", 8e-5, 10)
    assert (mine.data["batch_size"], mine.trainer.accumulate_grad_batches) == (32, 4)
    assert mine.data["train"] == RUN["trn_files"] and mine.data["limit_val"] == 16384
    assert mine.trainer.monitor == "val/map_video" and mine.trainer.precision == "bf16-mixed"
    assert "evaluate CDF=lists/a.txt,lists/b.txt" in told["message"]
    assert trained(mine.recipe["adapter"]) == 104_450


def test_every_name_of_the_published_settings_is_known_at_its_default(tmp_path: Path) -> None:
    nested: dict[str, Any] = {}
    for name, value in PUBLISHED.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    nested["loss"]["ce_labels"] = 1.0
    stated, notices, _ = translate(write(tmp_path, **nested))
    assert stated["recipe"]["adapter"] == {"preset": "linear"} and not notices
    assert stated["trainer"]["lr"] == 3e-4 and stated["recipe"]["min_lr"] == 1e-6


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"peft": {"enabled": True, "lora": {"enabled": True}}}, 49_152 + 2_050),
        ({"peft": {"enabled": False}}, 2_050),
        ({"peft": {"enabled": False}, "freeze_feature_extractor": False}, 303_181_826),
        ({"peft": {"enabled": False}, "unfreeze_layers": ["post_layernorm"]}, 2_048 + 2_050),
        ({"peft": "left out", "peft_v2": {"lora": {"rank": 2}}}, 2 * 49_152 + 2_050),
        (
            {
                "peft": "left out",
                "num_sources": 5,
                "unfreeze_layers": ["pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm"],
            },
            104_450,
        ),
    ],
)
def test_what_trains_is_what_the_released_code_trains(changes: dict[str, Any], numbers: int, tmp_path: Path) -> None:
    stated, _, _ = translate(write(tmp_path, **changes))
    assert trained(stated["recipe"]["adapter"]) == numbers


def test_gends_settings_are_told_by_their_names(tmp_path: Path) -> None:
    changes = {
        "peft": "left out",
        "backbone": "vit_pe_core_large_patch14_336",
        "unfreeze_layers": ["norm_pre", "norm1", "norm2", "norm"],
        "lr_scheduler": "cyclic",
        "num_epochs_in_cycle": 10,
        "early_stopping_patience": 30,
        "reduce_video_predictions": "median",
        "augmentations": None,
    }
    stated, notices, _ = translate(write(tmp_path, **changes))
    assert stated["base"] == "hf:timm/vit_pe_core_large_patch14_336.fb" and stated["recipe"]["cycle"] == 10
    assert stated["data"]["alignment"] == "gend" and stated["data"]["augment"] == "none"
    assert stated["trainer"]["patience"] == 30 and "median" in notices[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slerp_feature_augmentaton": True}, "did you mean slerp_feature_augmentation"),
        ({"loss": {"ce_label": 1.0}}, r"did you mean loss\.ce_labels"),
        ({"loss": {"ce_labels": 0.0}}, "all weights of loss are 0"),
        ({"loss": {"ce_labels": 1.0, "bce_labels": 1.0}}, "used by nothing"),
        ({"num_classes": 5}, "there are two"),
        ({"peft": {"enabled": True, "lora": {"enabled": True}, "ln_tuning": {"enabled": True}}}, "LoRA beside tuned"),
        ({"batch_size": 100}, "no multiple of mini_batch_size"),
        ({"betas": [0.5, 0.9]}, "betas"),
    ],
)
def test_settings_that_contradict_or_are_unknown_are_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        translate(write(tmp_path, **changes))


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1,\n", "[" * 5000])
def test_a_file_without_settings_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=r"give the authors' hparams\.yaml"):
        translate(tmp_path / "x.yaml")


def test_help_of_every_verb_is_light() -> None:
    code = (
        "import sys; from suite.domain import load; from domains.deepfake import DOMAIN\n"
        "for target in DOMAIN.verbs.values(): load(target)\n"
        "heavy = {'torch', 'peft', 'lightning', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_said_and_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give the authors"):
        config(tmp_path / "nowhere.yaml", out=tmp_path / "mine.yaml")
    released = tmp_path / "hparams.yaml"
    released.write_bytes(yaml.safe_dump({**RUN, "run_name": "Größe"}, allow_unicode=True).encode("cp1252"))
    told = config(released, out=tmp_path / "my run.yaml")
    assert f"--config '{tmp_path / 'my run.yaml'}'" in told["message"]


def test_a_small_tower_costs_something(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deepfake", "count", "--config", str(paths.assets() / "configs" / "deepfake" / "tiny.yaml")]) == 0
    assert "a face     0.033 GMACs" in capsys.readouterr().out
