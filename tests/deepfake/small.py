"""A small CLIP with random weights in a base's folder, and configurations that train on it in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from domains.deepfake.model import attachments, bases
from domains.deepfake.model.manifest import Manifest
from domains.deepfake.output.result import ScoredFace
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.training import ExperimentConfig
from suite.training.config import config_of

VISION: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "quick_gelu",
    "image_size": 64,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 60,
    "max_position_embeddings": 12,
    "bos_token_id": 58,
    "eos_token_id": 59,
}


def write_base(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """The folder of a random CLIP; norms and biases too are off their usual start, so that a swapped one shows."""
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(projection_dim=16, vision_config={**VISION, **sizes}, text_config=TEXT)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    return folder


def experiment(base: Path, **changes: Any) -> ExperimentConfig:
    """Two steps on a few made clips; `changes` by section."""
    content: dict[str, Any] = {
        "domain": "deepfake",
        "base": str(base.resolve()),
        "data": {"train": "faces:train:8", "val": "faces:val:4", "frames": 2, "batch_size": 8},
        "trainer": {"max_epochs": 1, "lr": 1e-3},
    }
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return config_of(content, Path("small.yaml"))


def write_adapter(base: Path, folder: Path, preset: str = "clip-ln-slerp", noise: float = 0.05) -> Path:
    """An adapter that no training made: what it trains, moved at random."""
    section = AdapterSection.of({"preset": preset}, attachments.PRESETS)
    torch.manual_seed(1)
    model = attachments.attach_section(bases.of_folder(base, "LinearNorm"), section)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * noise)
    stated = Manifest(preset=preset, tower=bases.sizes(model.vision_model), trained_on="nothing")
    return adapters.save(model, folder, extra=stated.to_dict())


def write_pictures(folder: Path, count: int = 24, period: float = 6.0) -> Path:
    """`train/` and `val/` with `real/` and `fake/`: soft noise, to which the fake ones add a pattern in an ellipse."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:64, 0:64]
    inside = ((rows - 32) / 26) ** 2 + ((columns - 32) / 20) ** 2 < 1
    pattern = 26 * np.cos(2 * np.pi * rows / period) * inside
    for split in ("train", "val"):
        for name in ("real", "fake"):
            for number in range(count):
                soft = Image.fromarray(rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)).resize((64, 64))
                pixels = np.asarray(soft).astype(float) + (pattern[..., None] if name == "fake" else 0)
                path = folder / split / name / f"{split}{number}" / "0.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def face(time: float, score: float, track: int = 0, left: float = 0.0) -> ScoredFace:
    return ScoredFace(round(10 * time), time, track, (left, 0.0, left + 10, 10.0), (), 1.0, score)
