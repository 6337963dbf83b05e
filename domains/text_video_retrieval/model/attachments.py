"""What recipes put on a CLIP: TempMe's shared LoRA with temporal positions, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from domains.text_video_retrieval.model.tempme import TempMe
from suite import adapters
from suite.adapters.section import AdapterSection

PARTS = ["q_proj", "k_proj", "v_proj"]
POSITIONS = "*temporal_position"

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tempme": {"method": "tied_lora", "targets": PARTS, "r": 8},
    "lora": {"method": "lora", "targets": PARTS, "r": 8, "lora_alpha": 8},
    "full": {},
}
"""`tempme` is one LoRA for the query, key and value of an attention; `lora` one for each, half as many numbers more."""


def attach_section(model: TempMe, section: AdapterSection, *, text: bool = True) -> nn.Module:
    """Put on a model what a recipe's section says; temporal positions train along wherever the schedule has them.

    Args:
        text: adapt the text tower too. Of the settings, `text_r` is a rank of its own for it.

    Raises:
        InputError: a setting is unknown, or the method does not fit.
    """
    positions = [POSITIONS] if model.plan.positions else []
    if section.preset == "full":
        section.refuse(section.settings)
        towers = ["*"] if text else ["vision_model*", "visual_projection*"]
        return adapters.attach(model, train=towers)
    spec = dict(section.spec(PRESETS))
    rank = spec.pop("text_r", None)
    if (text and rank is None) or not isinstance(spec.get("targets"), list):
        return adapters.attach(model, spec, train=positions)
    ranks = {"vision_model": spec.get("r"), **({"text_model": rank} if text else {})}
    names = "|".join(spec["targets"])
    specs = [{**spec, "targets": rf"{tower}\..*\.({names})", "r": r} for tower, r in ranks.items()]
    return adapters.attach(model, *specs, train=positions)
