"""What each preset trains of a `ForgeryClassifier`, beside the head, which always trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from domains.deepfake.model.losses import LossWeights
from suite import adapters
from suite.adapters.section import AdapterSection

NORM_NAMES = (
    r"(pre_layrnorm|post_layernorm|encoder\.layers\.\d+\.layer_norm[12]|"
    r"backbone\.(norm_pre|norm|attn_pool\.norm|(blocks|model\.layer)\.\d+\.norm[12]))"
)
NORMS = rf"vision_model\.{NORM_NAMES}"
"""The 2 + 2 * layers norms of CLIP's tower, the first spelled so by transformers; 3 + 2 * layers of Perception
Encoder's, which pools by attention; 1 + 2 * layers of DINOv3's."""

HEAD = ("head.*",)


@dataclass(frozen=True)
class Preset:
    """A paper's settings.

    Attributes:
        method: what is attached; None trains the head alone. train: globs of what trains in place.
        loss: weights of the terms. slerp: whether features are interpolated.
    """

    method: Mapping[str, Any] | None = None
    train: tuple[str, ...] = HEAD
    loss: LossWeights = field(default_factory=LossWeights)
    slerp: bool = False


_LN = {"method": "ln_tuning", "targets": NORMS}

PRESETS: Mapping[str, Preset] = {
    "clip-ln-slerp": Preset(_LN, slerp=True),
    "clip-ln-unal": Preset(_LN, loss=LossWeights(uniformity=0.5, alignment_labels=0.1)),
    "clip-ln": Preset(_LN),
    "lora": Preset({"method": "lora", "targets": ["out_proj"], "r": 1, "lora_alpha": 32, "lora_dropout": 0.1}),
    "linear": Preset(),
    "full": Preset(train=("*",)),
}
"""`clip-ln-slerp`: arXiv 2503.19683. `clip-ln-unal`: arXiv 2508.06248, the same authors. The others are ablations."""

BARE = ("linear", "full")
"""Presets that have no settings."""


def preset_of(section: AdapterSection) -> Preset:
    """The preset that the section names; a bare method has no losses of its own."""
    return PRESETS[section.preset] if section.preset else Preset()


def attach_section(model: nn.Module, section: AdapterSection, *, name: str = "default") -> nn.Module:
    """Put on a classifier what a recipe's section says, and let the head train; return the model to use.

    Raises:
        InputError: a setting is unknown, or the method does not fit the tower.
    """
    preset = preset_of(section)
    if section.preset in BARE:
        section.refuse(section.settings)
    method = {**preset.method, **section.settings} if preset.method else section.spec() if section.method else None
    train = ["*"] if "*" in preset.train else list(preset.train)
    return adapters.attach(model, *([method] if method else []), train=train, name=name)
