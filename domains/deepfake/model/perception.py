"""Perception Encoder (arXiv 2504.13181) as the classifier's tower, from timm, as GenD has it (arXiv 2508.06248)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from suite.clip.pictures import Preprocessing
from suite.errors import InputError
from suite.files import read_json
from suite.hub import weights

START = "vit_pe_core_"
"""How timm's names of these towers begin."""

SIZE = 224
"""Side of the pictures, whatever the tower was trained with: its positions are interpolated, as in GenD."""

PREPROCESSING = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Sizes:
    """What a `CLIPVisionConfig` says of a tower, under its names."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    patch_size: int
    image_size: int = SIZE


@dataclass(frozen=True)
class Pooled:
    """What the tower gives: (batch, width), all tokens pooled by its own attention."""

    pooler_output: Tensor


class PerceptionEncoder(nn.Module):
    """timm's tower without a head, called as transformers' `CLIPVisionModel` is.

    Args:
        eva: the tower. architecture: its name in timm.
    """

    def __init__(self, eva: nn.Module, architecture: str) -> None:
        super().__init__()
        self.backbone: Any = eva
        self.architecture, self.name_or_path = architecture, ""
        self.config = Sizes(
            hidden_size=self.backbone.num_features,
            intermediate_size=self.backbone.blocks[0].mlp.fc1.out_features,
            num_hidden_layers=len(self.backbone.blocks),
            patch_size=self.backbone.patch_embed.patch_size[0],
        )

    def forward(self, pixel_values: Tensor) -> Pooled:
        """Normalised pictures (batch, 3, side, side) to features."""
        return Pooled(self.backbone(pixel_values))

    def pooling_macs(self, tokens: int) -> int:
        """Multiplications and additions of pooling so many tokens into one."""
        width, inner = self.config.hidden_size, self.backbone.attn_pool.mlp.fc1.out_features
        return 2 * tokens * width**2 + 2 * width**2 + 2 * tokens * width + 2 * width * inner


def is_perception(folder: str | Path) -> bool:
    """Whether a base's folder is timm's, of such a tower."""
    file = Path(folder) / "config.json"
    return file.is_file() and str(read_json(file).get("architecture", "")).startswith(START)


def shape(architecture: str, settings: Mapping[str, Any] | None = None) -> PerceptionEncoder:
    """The tower on the device that is current, weights at random.

    Args:
        settings: keywords of timm's, where the tower is of other sizes than its name says.

    Raises:
        InputError: timm has no such tower.
    """
    return PerceptionEncoder(_made(architecture, dict(settings or {})), architecture)


def load_folder(folder: str | Path) -> PerceptionEncoder:
    """The tower of a base's folder (timm's config.json and model.safetensors), frozen and in evaluation mode.

    Raises:
        InputError: its weights are missing or of another tower.
    """
    config, file = read_json(Path(folder) / "config.json"), Path(folder) / "model.safetensors"
    if not file.is_file():
        raise InputError(f"base {folder}: no model.safetensors beside config.json; download it whole")
    tower = shape(config["architecture"], config.get("model_args"))
    state = _timm_names(weights.read(file), tower)
    try:
        # timm's own loading lets weights be missing wherever the head is another.
        tower.backbone.load_state_dict({name: value for name, value in state.items() if not name.startswith("head.")})
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"base {folder}: not the weights of {config['architecture']} ({why})") from error
    tower.name_or_path = str(folder)
    return tower.requires_grad_(False).eval()


def write_folder(folder: Path, architecture: str, state: Mapping[str, Tensor]) -> Path:
    """Write a tower as timm's hub has it, so that `load_folder` reads it.

    Args:
        folder: to be made. state: all weights of a `PerceptionEncoder`, by its names.

    Raises:
        InputError: timm has no such tower.
    """
    _check(architecture)
    folder.mkdir(parents=True)
    about = {"architecture": architecture, "num_classes": 0}
    (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    weights.write(
        {name.removeprefix("backbone."): tensor.float() for name, tensor in state.items()}, folder / "model.safetensors"
    )
    return folder


def _timm_names(state: Mapping[str, Tensor], tower: PerceptionEncoder) -> dict[str, Tensor]:
    from timm.models.eva import checkpoint_filter_fn

    return checkpoint_filter_fn(dict(state), tower.backbone)


def _check(architecture: str) -> None:
    import timm

    if not architecture.startswith(START) or not timm.is_model(architecture):
        known = ", ".join(timm.list_models(f"{START}*"))
        raise InputError(f"architecture: timm has no Perception Encoder {architecture!r}; choose {known}")


def _made(architecture: str, settings: dict[str, Any]) -> nn.Module:
    import timm

    _check(architecture)
    return timm.create_model(architecture, dynamic_img_size=True, num_classes=0, **settings)
