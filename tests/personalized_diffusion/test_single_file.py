"""Bases in one file: the same weights, the same pictures and the same training as their pipeline's folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases, single_file, skeleton
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import training
from suite.errors import InputError
from suite.training import TrainerConfig
from tests.personalized_diffusion import single_files


@pytest.fixture(scope="module")
def file(random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return single_files.write(random_base, tmp_path_factory.mktemp("single") / "dream.safetensors")


def test_a_single_file_is_the_pipeline_that_it_was_made_of(file: Path, random_base: Path) -> None:
    folder, single = (bases.load(where, torch.float32, "cpu") for where in (random_base, file))
    assert single.family == folder.family and single.file == file and single.id == "dream.safetensors"
    for ours, theirs in (
        (folder.unet, single.unet),
        (folder.vae, single.vae),
        *zip(folder.text_encoders, single.text_encoders, strict=True),
    ):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in ours.state_dict().items())
    drawn = [Personalizer(base).predict("a robot", images=1, steps=2) for base in (folder, single)]
    [[ours], [theirs]] = (list(results) for results in drawn)
    assert ours.pictures[0].digest == theirs.pictures[0].digest


def test_a_single_file_trains_and_is_drawn_with(file: Path, random_base: Path, tmp_path: Path) -> None:
    made = []
    for base in (random_base, file):
        recipe = DreamBoothRecipe(str(base), adapter={"preset": "diffusekrona", "factors": [4, 8]})
        settings = TrainerConfig(max_epochs=-1, max_steps=2, accelerator="cpu", lr=1e-2)
        data = PhotoData("sprites:robot:2", noun="robot")
        run = training.fit(recipe, data, settings, folder=tmp_path / base.name)
        [result] = Personalizer.from_pretrained(str(run.adapter), str(base), "cpu").predict(
            "a robot", images=1, steps=1
        )
        made.append(result.pictures[0].digest)
    assert made[0] == made[1]
    assert str(file) not in (run.adapter / "suite.json").read_text()


def test_a_single_file_counts_without_its_weights(file: Path, random_base: Path) -> None:
    assert skeleton.read_architecture(str(file)) == skeleton.read_architecture(str(random_base))


def test_settings_are_asked_of_the_repository_of_its_kind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder of its name: diffusers tells the kind by names and shapes, and only settings are fetched."""
    asked = []

    def settings(reference: str) -> Path:
        asked.append(reference)
        return file.with_suffix("")

    alone = Path(shutil.copy(file, tmp_path / "x.safetensors"))
    monkeypatch.setattr(single_file.resolution, "settings", settings)
    assert bases.load(alone, torch.float32, "cpu").file == alone
    xl = save(tmp_path / "xl.safetensors", "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias")
    assert single_file.settings_folder(xl) == file.with_suffix("")
    assert asked == [
        "hf:stable-diffusion-v1-5/stable-diffusion-v1-5",
        "hf:stabilityai/stable-diffusion-xl-base-1.0",
    ]
    with pytest.raises(InputError, match="no base that diffusers knows"):
        bases.load(save(tmp_path / "lora.safetensors", "lora_unet_x.lora_up.weight"), torch.float32, "cpu")


def test_without_settings_and_network_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(reference: str) -> Path:
        raise InputError(f"{reference}: the hub cannot be reached")

    monkeypatch.setattr(single_file.resolution, "settings", nowhere)
    xl = save(tmp_path / "xl.safetensors", "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias")
    with pytest.raises(InputError, match=r"lay a pipeline's folder without weights beside it, as .*/xl/"):
        bases.load(xl)


def save(path: Path, *names: str) -> Path:
    save_file({name: torch.zeros(4) for name in names}, path)
    return path


def test_files_that_are_no_whole_base_are_told(file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "x.ckpt").write_bytes(b"\x80\x02x")
    with pytest.raises(InputError, match=r"\.safetensors edition"):
        bases.load(tmp_path / "x.ckpt")
    damaged = tmp_path / "y.safetensors"
    damaged.write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="damaged"):
        bases.load(damaged)
    part = tmp_path / "part.safetensors"
    save_file({key: value for key, value in load_file(file).items() if not key.startswith("first_stage")}, part)
    shutil.copytree(file.with_suffix(""), part.with_suffix(""))
    with pytest.raises(InputError, match="cannot be loaded"):
        bases.load(part, torch.float32, "cpu")
