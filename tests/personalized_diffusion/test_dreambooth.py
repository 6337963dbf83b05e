"""Training on the real photos of a dog, through the code paths of real bases, on a small random pipeline."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from suite import training
from suite.training import TrainerConfig
from tests.personalized_diffusion import families
from tests.real_data import real_data

STEPS = 20

SCRIPT = """
import sys
from tests.personalized_diffusion.test_dreambooth import train
train(sys.argv[1], sys.argv[2], sys.argv[3])
"""


def train(photos: str, base: str, folder: str, resume: str | None = None) -> training.Run:
    """Twenty steps of KronA on the photos, every option that draws random numbers in use."""
    from domains.personalized_diffusion.data.datamodule import PhotoData
    from domains.personalized_diffusion.recipe import DreamBoothRecipe

    recipe = DreamBoothRecipe(
        base, adapter={"preset": "diffusekrona", "factors": [8, 4]}, text_encoder=True, text_lr=1e-2
    )
    data = PhotoData(
        photos=photos,
        val=photos,
        noun="dog",
        resolution=64,
        bucketing=True,
        bucket_step=16,
        crop="random",
        flip=True,
        caption_dropout=0.1,
        repeats=8,
        batch_size=2,
    )
    config = TrainerConfig(
        max_epochs=-1, max_steps=STEPS, lr=2e-2, scheduler="constant", val_every=5, checkpoint_every=1, log_every=1
    )
    return training.fit(recipe, data, config, folder=folder, resume=resume)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(families.save("sdxl", tmp_path_factory.mktemp("base") / "sdxl"))


@pytest.fixture(scope="module")
def photos() -> str:
    return str(real_data("dreambooth/dog"))


@pytest.fixture(scope="module")
def straight(photos: str, base: str, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    return train(photos, base, str(tmp_path_factory.mktemp("runs") / "straight"))


def weights(run: training.Run) -> dict[str, bytes]:
    return {
        f"{file.relative_to(run.adapter)}:{name}": tensor.numpy().tobytes()
        for file in sorted(run.adapter.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def test_acceptance_12_5_the_loss_falls_on_the_dog(straight: training.Run) -> None:
    lines = [json.loads(line) for line in (straight.folder / "metrics.jsonl").read_text().splitlines()]
    measured = [line["val/loss"] for line in lines if line.get("val/loss") is not None]
    assert len(measured) == 4
    assert measured[-1] < measured[0] - 0.05


def test_acceptance_12_5_a_killed_run_resumes_bit_for_bit(
    photos: str, base: str, straight: training.Run, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, photos, base, str(folder)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 600
        while _step(folder) < STEPS // 2:
            assert child.poll() is None and time.monotonic() < end, "training ended before its tenth step"
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    again = train(photos, base, str(folder), resume=str(folder))
    assert weights(again) == weights(straight)


def _step(folder: Path) -> int:
    """The last step that the run has logged."""
    lines = folder / "metrics.jsonl"
    if not lines.is_file() or not (folder / "last.ckpt").is_file():
        return 0
    whole = [line for line in lines.read_text().split("\n")[:-1] if line]
    return int(json.loads(whole[-1])["step"]) if whole else 0
