"""The embedded default: what its base was asked, and what its adapter finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake.data.datamodule import DeepfakeData
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.tiny import pretraining
from suite import training
from suite.errors import InputError
from suite.training.plain import Schedule
from tests.deepfake.small import experiment, write_base


def test_texture_tells_fine_patches_from_smooth_ones() -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[..., :8, 8:16] = torch.tensor([1.0, -1.0]).repeat(4)  # stripes in the second patch alone
    told = pretraining.texture(pixels)  # (1, patches, 10)
    assert told.shape == (1, 64, 10)
    assert torch.allclose(told[..., :3], torch.zeros(1, 64, 3), atol=1e-6)  # no patch's mean colour differs
    assert int(told[0, :, 3].argmax()) == 1
    assert torch.equal(told[0, 20], told[0, 60])


def test_treatments_change_the_picture_and_say_which() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    seen = [pretraining.treated(picture, number) for number in range(60)]
    assert {kind for _, kind in seen} == {0, 1, 2, 3}
    assert all(np.array_equal(changed, picture) == (kind == 0) for changed, kind in seen)


def test_pretraining_moves_every_part_of_the_tower() -> None:
    pool = pretraining.Pool(pretraining.faces(6))
    tower = pretraining.new()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    pretraining.pretrain(pool, tower, Schedule(steps=3, batch=4, lr=1e-3, warmup=0))
    still = [name for name, value in tower.named_parameters() if torch.equal(value, before[name])]
    assert not tower.training and not still


def test_the_closeness_of_the_crops_is_kept_for_prediction(tmp_path: Path) -> None:
    config = experiment(write_base(tmp_path / "base"), data={"train": "faces:train:2", "val": None, "scale": 0.9})
    run = training.run(config, run_dir=tmp_path / "run")
    assert FaceScorer.from_pretrained(str(run.adapter), str(tmp_path / "base")).stated.scale == 0.9


@pytest.mark.parametrize("scale", [0, -1.3, float("nan"), float("inf")])
def test_an_impossible_closeness_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"data\.scale"):
        DeepfakeData(scale=scale)


def test_the_shipped_adapter_finds_a_smoothed_face() -> None:
    from domains.deepfake.data.datasets import made

    pairs = [made._crops(2_900_000 + number, "smooth", 1) for number in range(6)]
    scores = FaceScorer.from_pretrained("tiny").predict_crops([Image.fromarray(c[0]) for pair in pairs for c in pair])
    real, forged = scores[0::2], scores[1::2]
    assert (forged > real).mean() >= 0.8
