"""Small models with random weights, B and temporal positions away from zero, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from domains.text_video_retrieval.model.attachments import attach_section
from domains.text_video_retrieval.model.schedule import Schedule
from domains.text_video_retrieval.model.tempme import TempMe
from suite.adapters.section import AdapterSection

WORDS = 40
TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
MERGING = Schedule((2, 3), (2, 2), (30, 10), 2)
FRAMES = 4


def config(*, image_size: int = 24, patch_size: int = 4, layers: int = 5, vocabulary: int = WORDS) -> CLIPConfig:
    text = {**TOWER, "num_hidden_layers": 2, "vocab_size": vocabulary, "max_position_embeddings": 12}
    ids = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": 0}
    vision = {**TOWER, "num_hidden_layers": layers, "image_size": image_size, "patch_size": patch_size}
    return CLIPConfig(text_config={**text, **ids}, vision_config=vision, projection_dim=16)


def tempme(schedule: Schedule = MERGING, frames: int = FRAMES, **shape: int) -> TempMe:
    torch.manual_seed(0)
    clip = CLIPModel(config(**shape))
    for parameter in clip.parameters():  # transformers starts at a fiftieth: every layer would be the identity
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.1)
    return TempMe(clip.requires_grad_(False), schedule, frames).eval()


def adapted(schedule: Schedule = MERGING, frames: int = FRAMES, **shape: int) -> nn.Module:
    """A model with TempMe's adapter, B and positions at random."""
    section = AdapterSection.of({"preset": "tempme", "init_weights": False}, ["tempme"])
    model = attach_section(tempme(schedule, frames, **shape), section)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "temporal_position" in name and parameter.requires_grad:
                parameter.normal_(std=0.5)
    return model
