"""Faces a second through `predict_crops` and `evaluate`'s loop, beside a plain loop over transformers' CLIP.

    python -m benchmarks.deepfake [--save] [--tower B/32]

ViT-B/32 at its real size, random weights, one thread, float32, batches of 16 crops of 256 pixels in PNG files. Both
loops read, scale, normalise and score the same files; the plain one is `Image.open`, transformers' CLIPImageProcessor
and CLIPVisionModel with a linear head, a batch after the other. Times are processor seconds in interleaved rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from benchmarks._measured import Target, compared, keep, rounds
from domains.deepfake.data.frame_set import open_picture
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.model.attachments import PRESETS, attach_section
from domains.deepfake.model.forgery_classifier import ForgeryClassifier
from domains.deepfake.model.manifest import Manifest
from suite.adapters.section import AdapterSection
from suite.clip.pictures import Preprocessing

BATCH = 16
TARGETS = [Target("suite", "plain loop", 1.0)]
"""Images a second of ours at least those of the plain loop: as much time at most."""

B32 = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/deepfake.json")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = CLIPVisionModel(CLIPVisionConfig(**B32, patch_size=32)).eval()
    plain_tower = CLIPVisionModel(CLIPVisionConfig(**B32, patch_size=32)).eval()
    plain_tower.load_state_dict(tower.state_dict())
    model = attach_section(ForgeryClassifier(tower), AdapterSection.of({"preset": "clip-ln-slerp"}, PRESETS))
    scorer = FaceScorer(model, Manifest(), Preprocessing(cut="transformers"))
    head = nn.Linear(768, 2)
    head.load_state_dict({"weight": model.head.weight, "bias": model.head.bias})
    processor: Any = CLIPImageProcessorPil()
    with tempfile.TemporaryDirectory() as folder:
        files = _pictures(Path(folder), BATCH)

        def ours() -> np.ndarray:
            return scorer.predict_crops([open_picture(file) for file in files])

        def plain() -> np.ndarray:
            with torch.inference_mode():
                images = [Image.open(file).convert("RGB") for file in files]
                pixels = processor(images=images, return_tensors="pt")["pixel_values"]
                feature = nn.functional.normalize(plain_tower(pixel_values=pixels).pooler_output, dim=1)
                return head(feature).softmax(1)[:, 1].numpy()

        # The same answers, or the times would mean nothing: 1e-3 is what scaling in other code may differ by.
        np.testing.assert_allclose(ours(), plain(), atol=1e-3)
        seconds = rounds({"suite": ours, "plain loop": plain}, given.repeats)
    figures = {name: BATCH / float(np.median(own)) for name, own in seconds.items()}
    for name, rate in figures.items():
        print(f"{name}: {rate:.1f} faces a second")
    ratios = compared(seconds, TARGETS)
    if given.save:
        keep("deepfake", given.repeats, seconds, faces_a_second=figures, ratios=ratios)


def _pictures(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        small = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC).save(files[-1])
    return files


if __name__ == "__main__":
    main()
