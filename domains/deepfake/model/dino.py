"""DINOv3 (arXiv 2508.10104) as the classifier's tower, from transformers, as GenD has it (arXiv 2508.06248)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from suite.clip.pictures import Picture, Preprocessing
from suite.errors import InputError, first_line
from suite.files import read_json
from suite.hub.pretrained import bars_for_people, own_words

KIND = "dinov3_vit"
"""What transformers calls its configuration."""


@dataclass(frozen=True)
class Squeezed(Preprocessing):
    """As `DINOv3ViTImageProcessor`: both sides scaled at once, bilinear, ImageNet's mean and deviation."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def resize(self, picture: Picture) -> Image.Image:
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        return image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)

    def __call__(self, picture: Picture) -> Tensor:
        # Scaled in floating point, as the processor does: Pillow rounds to whole levels, twice.
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0)[None].float()  # (1, 3, h, w)
        scaled = functional.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return self.normalize(scaled[0].movedim(0, -1))

    def batch(self, pictures: Iterable[Picture]) -> Tensor:
        return torch.stack([self(picture) for picture in pictures])


PREPROCESSING = Squeezed()


class Dino(nn.Module):
    """transformers' tower under the name that GenD gives it, called as a `CLIPVisionModel` is."""

    def __init__(self, backbone: DINOv3ViTModel) -> None:
        super().__init__()
        self.backbone, self.config = backbone, backbone.config
        self.name_or_path = ""

    def forward(self, pixel_values: Tensor) -> Any:
        """Normalised pictures (batch, 3, side, side); `pooler_output` is the class token after the last norm."""
        return self.backbone(pixel_values)


def is_dino(folder: str | Path) -> bool:
    """Whether a base's folder is of such a tower."""
    file = Path(folder) / "config.json"
    return file.is_file() and read_json(file).get("model_type") == KIND


def shape(settings: Mapping[str, Any]) -> Dino:
    """The tower on the device that is current, weights at random.

    Args:
        settings: keywords of a `DINOv3ViTConfig`.

    Raises:
        InputError: one is unknown.
    """
    known = DINOv3ViTConfig().to_dict()
    if unknown := [name for name in settings if name not in known]:
        raise InputError(f"architecture: {unknown[0]!r} is no field of a DINOv3ViTConfig; remove it")
    fields = {name: value for name, value in settings.items() if name != "model_type"}
    return Dino(DINOv3ViTModel(DINOv3ViTConfig(**fields)))


def skeleton(folder: str | Path) -> Dino:
    """As `shape`, of a base's folder."""
    return Dino(DINOv3ViTModel(DINOv3ViTConfig.from_pretrained(folder)))


def load_folder(folder: str | Path) -> Dino:
    """The tower of a base's folder, frozen and in evaluation mode.

    Raises:
        InputError: weights are missing or of another tower.
    """
    try:
        with own_words():
            model, found = DINOv3ViTModel.from_pretrained(folder, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"base {folder}: no weights of a DINOv3 ({first_line(error)}); check the folder") from error
    if missing := sorted(found["missing_keys"]):
        raise InputError(f"base {folder}: lacks {missing[0]} of a DINOv3; download it whole")
    tower = Dino(model)
    tower.name_or_path = str(folder)
    return tower.requires_grad_(False).eval()


def write_folder(folder: Path, state: Mapping[str, Tensor], heads: int | None = None) -> Path:
    """Write a tower as transformers has it, so that `load_folder` reads it.

    Args:
        folder: to be made. state: all weights of a `Dino`, by its names. heads: of attention; of 64 where left out.

    Raises:
        InputError: tensors are missing, unknown or of another shape.
    """
    plain = {name.removeprefix("backbone."): tensor.float() for name, tensor in state.items()}
    try:
        width, patch = plain["embeddings.patch_embeddings.weight"].shape[0::3]
        layer = "model.layer.0."
        config = DINOv3ViTConfig(
            hidden_size=width,
            intermediate_size=plain[f"{layer}mlp.up_proj.weight"].shape[0],
            num_hidden_layers=len({name.split(".")[2] for name in plain if name.startswith("model.layer.")}),
            num_attention_heads=heads or max(1, width // 64),
            num_register_tokens=plain["embeddings.register_tokens"].shape[1],
            patch_size=patch,
        )
        model = DINOv3ViTModel(config)
        model.load_state_dict(plain)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"the released tower is no whole DINOv3 ({' '.join(str(error).split())[:160]})") from error
    with bars_for_people():
        model.save_pretrained(folder)
    return folder
