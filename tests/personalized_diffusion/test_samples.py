"""Samples drawn while training are what the adapter draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.output.samples import Samples, draw_samples
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import training
from suite.errors import InputError
from suite.media import sheets
from suite.training import TrainerConfig
from tests.personalized_diffusion import families
from tests.personalized_diffusion.made import SMALL


def test_use_09_samples_are_drawn_at_every_step_that_ends_an_epoch(random_base: Path, tmp_path: Path) -> None:
    samples = {"every": 1, "prompts": ["a sks robot"], "images": 1, "steps": 1}
    data = PhotoData(photos="sprites:robot:3", noun="robot")
    recipe = DreamBoothRecipe(str(random_base), adapter=SMALL, samples=samples)
    settings = TrainerConfig(max_epochs=-1, max_steps=4, accumulate_grad_batches=2, accelerator="cpu")
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    drawn = sorted(path.stem for path in (run.folder / "samples").iterdir())
    assert drawn == [f"step_{step:06}" for step in range(5)]


def test_use_09_samples_that_are_nan_are_told(random_base: Path, tmp_path: Path, capsys: Any) -> None:
    broken = bases.load(random_base, torch.float32, "cpu")
    broken.unet.conv_out.weight.data.fill_(float("nan"))
    asked = Samples(prompts=["a robot"], images=1, steps=1)
    with pytest.raises(InputError, match="NaN"):
        draw_samples(broken, asked, 32, tmp_path / "x.png", "step 0")
    assert not (tmp_path / "x.png").exists()


def test_use_09_samples_are_what_predict_draws(tmp_path: Path) -> None:
    sdxl = bases.load(families.save("sdxl", tmp_path / "base"), torch.float32, "cpu")
    asked = Samples(prompts=["a robot"], images=2, steps=2, guidance=5.0, seed=3)
    path = draw_samples(sdxl, asked, 64, tmp_path / "x.png", "step 0")
    images = Personalizer(sdxl)("a robot", images=2, steps=2, guidance=5.0, seed=3, size="64")
    same = sheets.grid([images], names=["a robot"], title="step 0", side=128)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(same))


@pytest.mark.parametrize("section", [SMALL, {"preset": "lora", "rank": 2, "use_dora": True}], ids=["krona", "dora"])
def test_use_09_the_last_samples_are_what_the_saved_adapter_draws(
    section: dict[str, Any], random_base: Path, tmp_path: Path
) -> None:
    samples = {"every": 2, "prompts": ["a sks robot"], "images": 2, "steps": 2, "guidance": 3.0, "seed": 5}
    recipe = DreamBoothRecipe(str(random_base), adapter=section, samples=samples)
    settings = TrainerConfig(max_epochs=-1, max_steps=2, lr=1e-2, accelerator="cpu", precision="32-true")
    run = training.fit(recipe, PhotoData("sprites:robot:2", noun="robot"), settings, folder=tmp_path / "run")
    personalizer = Personalizer.from_pretrained(str(run.adapter), str(random_base), "cpu")
    images = personalizer("a sks robot", images=2, steps=2, guidance=3.0, seed=5)
    same = sheets.grid([images], names=["a sks robot"], title="step 2", side=128)
    drawn = run.folder / "samples" / "step_000002.png"
    assert np.array_equal(np.asarray(Image.open(drawn)), np.asarray(same))
    start = np.asarray(Image.open(run.folder / "samples" / "step_000000.png"))
    assert not np.array_equal(start[40:], np.asarray(same)[40:])  # below the title
