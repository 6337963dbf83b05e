"""What recipes put on a tracker: TMoE or LoRA on every linear layer of the blocks; head and embeddings always train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from domains.tracking.model.dinov2 import SplitQkv
from domains.tracking.model.spmtrack import SpmTrack
from suite import adapters
from suite.adapters.section import AdapterSection

FUSED = r"blocks\.\d+\.(attn\.qkv|attn\.proj|mlp\.fc[12])"
SPLIT = r"blocks\.\d+\.(attn\.qkv\.[qkv]|attn\.proj|mlp\.fc[12])"
"""Every linear layer of the blocks, where query, key and value are one layer, and where they are three."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "spmtrack": {"method": "tmoe", "r": 64, "alpha": 64.0, "num_experts": 4},
    "lorat": {"method": "lora", "r": 64, "lora_alpha": 64},
    "head": {},
    "full": {},
}
"""`spmtrack`: arXiv 2503.18338. `lorat`: arXiv 2403.05231. `head` leaves the backbone as it is; `full` trains all."""


def needs_split(section: AdapterSection) -> bool:
    """Whether the method must see query, key and value as layers of their own: TMoE alone tells them apart."""
    return section.name not in ("spmtrack", "tmoe", "head", "full")


def attach_section(model: SpmTrack, section: AdapterSection, *, name: str = "default") -> nn.Module:
    """Put on a tracker what a recipe's section says; return the model to use.

    Raises:
        InputError: a setting is unknown, or the method does not fit.
    """
    own = [each for each in ("track_query", "query_embed", "token_type_embed") if hasattr(model, each)]
    train = [*own, "head.*"]
    if section.preset in ("head", "full"):
        section.refuse(section.settings)
        return adapters.attach(model, train=["*"] if section.preset == "full" else train, name=name)
    spec = section.spec(PRESETS)
    spec.setdefault("targets", SPLIT if isinstance(model.blocks[0].attn.qkv, SplitQkv) else FUSED)
    return adapters.attach(model, spec, train=train, name=name)
