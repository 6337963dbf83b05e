"""Faces a second of the deepfake domain in bf16, beside a plain loop over transformers' CLIP.

ViT-L/14 with tuned norms and random weights, crops of 256 pixels in memory. The plain loop is transformers'
CLIPImageProcessor and a CLIPVisionModel in bfloat16 with a linear head, a batch after the other. The two take turns;
figures are medians over rounds.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from benchmarks.gpu.claim import Figure, Setting, now
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.model.attachments import PRESETS, attach_section
from domains.deepfake.model.forgery_classifier import ForgeryClassifier
from domains.deepfake.model.manifest import Manifest
from suite.adapters.section import AdapterSection
from suite.clip.pictures import Preprocessing

L14 = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
BATCH = 64
APART = 0.02
"""By which scores in bfloat16 may differ."""


def measure(setting: Setting) -> Iterator[Figure]:
    """Faces a second from pictures, and of the towers alone."""
    torch.manual_seed(0)
    sizes = {**(TINY if setting.smoke else L14), "patch_size": 14}
    with setting.device:
        classifier = ForgeryClassifier(CLIPVisionModel(CLIPVisionConfig(**sizes))).eval()
    tower = copy.deepcopy(classifier.vision_model).to(torch.bfloat16)
    head = copy.deepcopy(classifier.head)
    model: Any = attach_section(classifier, AdapterSection.of({"preset": "clip-ln-slerp"}, PRESETS))
    prepare = Preprocessing(cut="transformers")
    scorer = FaceScorer(model, Manifest(), prepare, device=setting.device.type, dtype=torch.bfloat16)
    processor: Any = CLIPImageProcessorPil()
    count = 2 if setting.smoke else BATCH
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(count)]

    def plain(pixels: Tensor) -> Any:
        with torch.inference_mode():
            feature = tower(pixel_values=pixels.to(setting.device, torch.bfloat16)).pooler_output.float()
            return head(nn.functional.normalize(feature, dim=1)).softmax(1)[:, 1].cpu().numpy()

    def plain_from_pictures() -> Any:
        return plain(processor(images=crops, return_tensors="pt")["pixel_values"])

    # The same answers, or the times would mean nothing.
    np.testing.assert_allclose(scorer.predict_crops(crops), plain_from_pictures(), atol=APART)
    pixels = prepare.batch(crops)
    rounds = (0, 1) if setting.smoke else (2, 7)
    pairs: dict[str, Mapping[str, Callable[[], Any]]] = {
        "from pictures": {"suite": lambda: scorer.predict_crops(crops), "plain loop": plain_from_pictures},
        "from pixels": {"suite": lambda: scorer.predict_crops(pixels), "plain loop": lambda: plain(pixels)},
    }
    for place, calls in pairs.items():
        seconds = medians(calls, *rounds)
        for name, spent in seconds.items():
            yield Figure(f"{name}, {place}", count / spent, "faces/s")
        yield Figure(f"suite / plain loop, {place}", seconds["plain loop"] / seconds["suite"], "x", 1.0)


def medians(calls: Mapping[str, Callable[[], Any]], warmup: int, rounds: int) -> dict[str, float]:
    """Seconds of each, all taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warmup + rounds):
        for name, call in calls.items():
            start = now()
            call()
            if number >= warmup:
                taken[name].append(now() - start)
    return {name: statistics.median(values) for name, values in taken.items()}
