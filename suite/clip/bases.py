"""Bases: the towers of a CLIP of transformers, loaded frozen, whole or one alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from suite import hub
from suite.errors import InputError, first_line
from suite.hub.pretrained import own_words

Kind = Literal["CLIPModel", "CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"]
"""The class of transformers: both towers, or one alone, with its projection into the common space or without."""

_CLASSES = {
    "CLIPModel": CLIPModel,
    "CLIPVisionModel": CLIPVisionModel,
    "CLIPVisionModelWithProjection": CLIPVisionModelWithProjection,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}


def load_base(
    reference: str, domain: str, kind: Kind, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> nn.Module:
    """A tower or both of a base, frozen and in eval mode.

    Args:
        reference: of the base, in the hub's grammar. domain: that a name without one belongs to.
        kind: the class to make of it. One tower of a whole CLIP is loaded alone; the other is not read.

    Raises:
        InputError: there is no such base, or it does not hold this tower.
    """
    return load_folder(hub.resolve(reference, domain, kind="base"), kind, dtype=dtype).to(device)


def load_folder(folder: str | Path, kind: Kind, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """As `load_base`, of a base's folder."""
    config = _config_of(read_config(folder), kind, folder)
    try:
        with own_words():
            model, found = _CLASSES[kind].from_pretrained(folder, config=config, dtype=dtype, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"base {folder}: no weights of a {kind} ({first_line(error)}); check the folder") from error
    if missing := sorted(found["missing_keys"]):
        # transformers would start them at random, another model at every run.
        raise InputError(
            f"base {folder}: lacks {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''} of a {kind};"
            " choose a base that has this tower"
        )
    return model.requires_grad_(False).eval()


def skeleton(reference: str, domain: str, kind: Kind) -> nn.Module:
    """A base by its configuration alone, on the device that is current (`meta`: no memory)."""
    folder = hub.resolve(reference, domain, kind="base")
    return _CLASSES[kind](_config_of(read_config(folder), kind, folder))


def read_config(folder: str | Path) -> CLIPConfig | CLIPVisionConfig | CLIPTextConfig:
    """The configuration of a base: of both towers, or of the one that it holds.

    Raises:
        InputError: the folder holds no CLIP.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"base {folder}: no model folder of transformers ({first_line(error)})") from error
    if not isinstance(config, CLIPConfig | CLIPVisionConfig | CLIPTextConfig):
        raise InputError(
            f"base {folder}: holds a {config.model_type}, not a clip; choose a CLIP, e.g. of openai/clip-*"
        )
    return config


def image_size(config: CLIPConfig | CLIPVisionConfig) -> int:
    """The side of the square that the vision tower takes, in pixels."""
    return int(getattr(config, "vision_config", config).image_size)


def _config_of(config: Any, kind: Kind, where: str | Path) -> Any:
    """What the class takes, of what the folder states."""
    if kind == "CLIPModel":
        if isinstance(config, CLIPConfig):
            return config
    else:
        tower = "text_config" if kind == "CLIPTextModelWithProjection" else "vision_config"
        if isinstance(config, CLIPConfig):
            part = getattr(config, tower)
            # A whole CLIP states the width of the common space once, for both towers.
            part.projection_dim = config.projection_dim
            return part
        if isinstance(config, CLIPTextConfig if tower == "text_config" else CLIPVisionConfig):
            return config
    raise InputError(f"base {where}: a {config.model_type} has no {kind}; choose a base with this tower")
