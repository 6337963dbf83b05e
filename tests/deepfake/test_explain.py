"""Heatmaps: what of a face a score comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domains.deepfake import DeepfakeDetector
from domains.deepfake.evaluation.explain import explain
from domains.deepfake.inference import heatmaps
from suite.errors import InputError


def test_heatmaps_are_of_the_models_own_numbers(detector: DeepfakeDetector) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = detector.logits(pixels)
    for kind in ("patches", "rollout"):
        maps = heatmaps.heatmap(detector.model, pixels, kind)
        assert maps.shape == (2, 64, 64) and float(maps.min()) >= 0 and float(maps.max()) <= 1
        assert torch.equal(maps, heatmaps.heatmap(detector.model, pixels, kind))
    assert torch.equal(detector.logits(pixels), before)  # nothing of it stays
    flow = heatmaps.rollout(detector.model, pixels[:1])
    torch.testing.assert_close(flow, _rollout(detector, pixels[:1]))


def _rollout(detector: DeepfakeDetector, pixels: torch.Tensor) -> torch.Tensor:
    """Gradient rollout from the formula, attention computed here."""
    tower = detector.model.vision_model
    tower.set_attn_implementation("eager")
    outputs = tower(pixel_values=pixels.clone().requires_grad_(True), output_attentions=True)
    feature = outputs.pooler_output
    logits = detector.model.classify(feature).logits
    gradients = torch.autograd.grad((logits[0, 1] - logits[0, 0]), outputs.attentions)
    tower.set_attn_implementation("sdpa")
    joint = torch.eye(65)
    for weights, gradient in zip(outputs.attentions, gradients, strict=True):
        layer = (weights * gradient).clamp(min=0)[0].mean(0) + torch.eye(65)
        joint = (layer / layer.sum(1, keepdim=True)) @ joint
    row = joint[0, 1:]
    return ((row - row.min()) / (row.max() - row.min())).detach().view(1, 8, 8)


def test_an_explanation_is_a_crop_its_maps_and_the_picture_under_them(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base"), "device": "cpu"}
    told = explain(home / "media" / "face.png", out=tmp_path, detector="haar", **words)  # type: ignore[arg-type]
    assert {Path(file).name for file in told["files"]} == {
        "face.face0.crop.png",
        *(f"face.face0.{kind}{place}.png" for kind in ("patches", "rollout") for place in ("", ".frame")),
    }
    assert "no mask of the forgery" in told["message"]
    with pytest.raises(InputError, match="no face found by haar"):
        explain(home / "media" / "nobody.jpg", out=tmp_path, detector="haar", **words)  # type: ignore[arg-type]


def test_only_one_picture_or_video_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give one picture or video"):
        explain(tmp_path, adapter="./nowhere")
    with pytest.raises(InputError, match="faces is 0; give at least 1"):
        explain(tmp_path / "a.png", faces=0)
    for name in ("a.png", "mine"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="mine: is a file; give a folder"):
        explain(tmp_path / "a.png", adapter="./nowhere", out=tmp_path / "mine")
