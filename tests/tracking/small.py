"""Small trackers and the bases that they stand on, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from domains.tracking.model import attachments
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from suite.adapters.section import AdapterSection

SETTINGS = TrackerSettings(template_size=28, search_size=70)
LORAT = TrackerSettings(template_size=28, search_size=70, num_templates=1, state_token=False)
SIZES = Sizes(depth=2, width=64, heads=1, grid=4)


def base_model(swiglu: bool = False, width: int = 64, depth: int = 2) -> Dinov2Model:
    """A DINOv2 of transformers with weights at random, its layer scales too."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        image_size=56,
        patch_size=14,
        use_swiglu_ffn=swiglu,
        layerscale_value=0.5,
    )
    return Dinov2Model(config).eval()


def write_base(folder: Path, **settings: Any) -> Path:
    """The same as an ordinary folder."""
    base_model(**settings).save_pretrained(folder)
    return folder


def attached(model: SpmTrack, preset: str = "spmtrack", **settings: Any) -> Any:
    """A tracker with a preset's method on it, moved away from where it starts."""
    section = AdapterSection.of({"preset": preset, "r": 4, **settings}, attachments.PRESETS)
    model = attachments.attach_section(model, section)  # type: ignore[assignment]
    shake(model)
    return model.eval()


def shake(model: nn.Module, scale: float = 0.05) -> None:
    """Move whatever trains."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def inputs(settings: TrackerSettings, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Templates (batch, n, 3, z, z), masks (batch, n, Z, Z) and search crops (batch, 3, s, s)."""
    rng = torch.Generator().manual_seed(seed)
    side, grid, count = settings.template_size, settings.template_grid, settings.num_templates
    templates = torch.randn(batch, count, 3, side, side, generator=rng)
    masks = torch.randint(0, 2, (batch, count, grid, grid), generator=rng)
    return templates, masks, torch.randn(batch, 3, settings.search_size, settings.search_size, generator=rng)
