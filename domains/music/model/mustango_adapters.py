"""What is attached to Mustango's UNet, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from suite import adapters
from suite.adapters.methods.additive.sequences import Point
from suite.adapters.section import AdapterSection
from suite.errors import InputError

POINT = "adapted"
"""The name of the places in our UNet."""
UNET = "unet."
"""In front of it where adapters are attached to UNet and conditions together, as in the released file."""
ADDED = (POINT, f"mid_block.{POINT}")
"""Places whose published adapter is added to the state; it replaces the state elsewhere."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "published": {"reduction": 8},
    "conv": {"reduction": 8},
    "lora": {"method": "lora", "targets": r".*\.(to_q|to_k|to_v|to_out\.0)", "r": 8, "lora_alpha": 16},
}
"""`published`: 1 x 1 convolutions that end in a LayerNorm, as in the authors' file: a freshly adapted model is broken
until it is trained. `conv`: the same without the norm and up = 0, which starts at the identity."""


def published(widths: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """What `adapters.attach` takes for published adapters.

    Args:
        widths: of each place the bottleneck and the number of blocks.
    """
    places: dict[tuple[int, int], list[str]] = {}
    for place, width in widths.items():
        places.setdefault(width, []).append(place)
    return [
        {
            "method": "linear_adapter",
            "norm": "layer",
            "dropout": 0.0,
            "blocks": blocks,
            "bottleneck_size": bottleneck,
            "targets": "|".join(re.escape(place) for place in own),
            "added_to": [place for place in own if place.removeprefix(UNET) in ADDED],
        }
        for (bottleneck, blocks), own in places.items()
    ]


def attach_section(unet: nn.Module, section: AdapterSection, *, name: str = "default") -> nn.Module:
    """Put on a UNet what a recipe's section says; return the model to use.

    Raises:
        InputError: a setting is unknown.
    """
    spec = section.spec(PRESETS)
    if section.preset not in ("published", "conv"):
        return adapters.attach(unet, spec, name=name)
    reduction, blocks = spec.pop("reduction"), spec.pop("blocks", 1)
    if spec:
        raise InputError(
            f"recipe.adapter.{next(iter(spec))} is no setting of {section.preset}; it has reduction, blocks"
        )
    points = {place: module.width for place, module in unet.named_modules() if isinstance(module, Point)}
    specs = published({place: (max(1, width // reduction), blocks) for place, width in points.items()})
    if section.preset == "conv":
        specs = [{**one, "norm": "none", "added_to": []} for one in specs]
    return adapters.attach(unet, *specs, name=name)
