"""A training step of TempMe's towers with token merging, beside the same towers frame by frame.

CLIP's sizes with random weights, 12 frames a video, bf16 autocast, AdamW; the towers take turns, seconds are the median
over the steps after warming up, memory is the allocator's peak of one tower alone. The paper's figures are of full
fine-tuning (arXiv 2409.01156: 1.57 times the training speed, 75.2 % of the memory); the adapter's are told beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.gpu.claim import Figure, Setting, clear_memory, now, peak_gigabytes
from domains.text_video_retrieval.model.attachments import PRESETS, attach_section
from domains.text_video_retrieval.model.schedule import Schedule
from domains.text_video_retrieval.model.similarity import contrastive_loss, similarity
from domains.text_video_retrieval.model.tempme import TempMe
from suite.adapters.section import AdapterSection

FRAMES, WORDS, VIDEOS = 12, 32, 32
PATCH = 32
SCHEDULES = {"without merging": "image", "merging": "vit-b-32"}
FASTER, MEMORY = 1.57, 0.752
"""The paper's, full fine-tuning with merging against without."""


def measure(setting: Setting) -> Iterator[Figure]:
    """Seconds and memory of a step with and without merging, everything trained, then the adapter."""
    for trained, preset in (("full fine-tuning", "full"), ("adapter", "tempme")):
        seconds, memory = {}, {}
        for name, schedule in SCHEDULES.items():
            clear_memory()
            step = training_step(setting, Schedule.of({"preset": schedule}), preset)
            seconds[name] = median_seconds(step, *((1, 1) if setting.smoke else (4, 12)))
            memory[name] = peak_gigabytes()
            note = f"{memory[name]:.2f} GB" if memory[name] else ""
            yield Figure(f"{trained}, {name}", seconds[name], "s/step", note=note)
            del step
        published = preset == "full"
        faster = seconds["without merging"] / seconds["merging"]
        yield Figure(f"{trained}: merging / without, speed", faster, "x", FASTER if published else None)
        if memory["merging"]:
            share = memory["merging"] / memory["without merging"]
            goal = MEMORY if published else None
            yield Figure(f"{trained}: merging / without, memory", share, "x", goal, "at most")


def training_step(setting: Setting, schedule: Schedule, preset: str) -> Callable[[], None]:
    """One optimiser step on one fixed random batch of pairs."""
    torch.manual_seed(0)
    small = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2} if setting.smoke else {}
    base = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, **small}
    vision = {**base, "num_hidden_layers": 12, "patch_size": PATCH}
    text = {**small, "num_hidden_layers": 1} if setting.smoke else {}
    with setting.device:
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=512))
        model = attach_section(TempMe(clip.requires_grad_(False), schedule, FRAMES), section(preset)).train()
        count = 2 if setting.smoke else VIDEOS
        frames = torch.randn(count, FRAMES, 3, 224, 224)
        tokens = torch.randint(1, 1000, (count, WORDS))
        mask = torch.ones_like(tokens)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(setting.device.type, torch.bfloat16):
            texts, videos = model.encode_text(tokens, mask), model.encode_video(frames)
        contrastive_loss(100 * similarity(texts.float(), videos.float())).mean().backward()
        optimizer.step()

    return step


def section(preset: str) -> AdapterSection:
    return AdapterSection.of({"preset": preset}, PRESETS)


def median_seconds(step: Callable[[], None], warmup: int, steps: int) -> float:
    """Of a step, after warming up."""
    taken = []
    for _ in range(warmup + steps):
        start = now()
        step()
        taken.append(now() - start)
    return statistics.median(taken[warmup:])
