"""The method at work without any download: a random tower, soft noise, a faint pattern in what is forged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake import metrics
from domains.deepfake.data.sources import open_set, open_sets
from domains.deepfake.evaluation.calibrate import best_temperature
from domains.deepfake.evaluation.evaluate import evaluate
from domains.deepfake.evaluation.scoring import answers
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.model import attachments, bases
from domains.deepfake.model.manifest import Manifest
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.clip.pictures import Preprocessing
from tests.deepfake.small import write_pictures

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `base/`, `faces/` with train/ and val/, and `faster/`, whose pattern has another frequency."""
    home = tmp_path_factory.mktemp("experiments")
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=64, patch_size=8)).save_pretrained(home / "base")
    write_pictures(home / "faces", 32)
    write_pictures(home / "faster", 32, period=3.5)
    return home


def trained(world: Path, preset: str, steps: int = 60) -> Any:
    """A classifier after some steps on all training pictures, and its tower's frozen numbers before them."""
    torch.manual_seed(0)
    model = bases.of_folder(world / "base", "LinearNorm")
    model = attachments.attach_section(model, AdapterSection.of({"preset": preset}, attachments.PRESETS))
    frames = open_set(f"{world / 'faces'}:train")
    pixels = Preprocessing(64).batch([frames.open(frame) for frame in frames.frames])
    labels = torch.from_numpy(frames.labels)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        loss = functional.cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), frozen


@pytest.fixture(scope="module")
def tuned(world: Path) -> tuple[Any, dict[str, Tensor]]:
    return trained(world, "clip-ln")


def auroc(model: Any, source: str) -> float:
    found = answers(FaceScorer(model, Manifest(), Preprocessing(64)), open_set(source))
    value = metrics.auroc(found.scores(), found.labels)
    assert value is not None
    return value


def test_tuned_norms_beat_the_head_alone_and_leave_the_rest_to_the_byte(
    world: Path, tuned: tuple[Any, dict[str, Tensor]]
) -> None:
    model, frozen = tuned
    probe, _ = trained(world, "linear")
    held_out = f"{world / 'faces'}:val"
    assert auroc(model, held_out) > auroc(probe, held_out) + 0.05
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    count = adapters.count(model)
    assert count.trainable < 0.03 * count.total


def test_a_pattern_of_another_frequency_is_a_data_set_of_its_own(
    world: Path, tuned: tuple[Any, dict[str, Tensor]], tmp_path: Path
) -> None:
    adapter = adapters.save(tuned[0], tmp_path / "adapter", extra=Manifest(trained_on="faces").to_dict())
    sources = [f"near={world / 'faces'}:val", f"far={world / 'faster'}:val"]
    told = evaluate(sources, adapter=str(adapter), base=str(world / "base"), device="cpu")
    near, far = (told[source]["video"]["auroc"] for source in ("near", "far"))
    assert near > 0.9 and 0.5 < far < near


def test_calibration_on_half_of_the_videos_does_not_raise_the_error_of_the_other(
    world: Path, tuned: tuple[Any, dict[str, Tensor]]
) -> None:
    sources = [f"{world / name}:{split}" for name, split in (("faces", "val"), ("faster", "train"), ("faster", "val"))]
    found = answers(FaceScorer(tuned[0], Manifest(), Preprocessing(64)), open_sets(sources))
    half = np.arange(len(found.labels)) % 2 == 0
    temperature = best_temperature(found.logits[half], found.labels[half])
    other = found.only({path for path, own in zip(found.paths, half, strict=True) if not own})
    before, after = (metrics.expected_calibration_error(other.scores(t), other.labels, 5) for t in (1.0, temperature))
    assert temperature != 1 and after <= before
