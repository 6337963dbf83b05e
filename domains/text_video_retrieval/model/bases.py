"""Bases: a CLIP with both towers, made into a TempMe by a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import CLIPConfig, CLIPModel

from domains.text_video_retrieval.model.schedule import Schedule
from domains.text_video_retrieval.model.tempme import TempMe, plan_of
from suite import hub
from suite.clip import bases
from suite.errors import InputError
from suite.hub import pretrained

DOMAIN = "text_video_retrieval"


def load(reference: str, schedule: Schedule, frames: int, dtype: torch.dtype = torch.float32) -> TempMe:
    """The model of a base, frozen; what does not fit is said before weights are read.

    Raises:
        InputError: there is no such base, it holds no CLIP, or the schedule does not fit it.
    """
    return load_folder(hub.resolve(reference, DOMAIN, kind="base"), schedule, frames, dtype)


def load_folder(folder: str | Path, schedule: Schedule, frames: int, dtype: torch.dtype = torch.float32) -> TempMe:
    """As `load`, of a base's folder."""
    plan_of(vision_config(bases.read_config(folder), folder), schedule, frames)
    clip = cast(CLIPModel, bases.load_folder(folder, "CLIPModel", dtype=dtype))
    return TempMe(clip, schedule, frames)


def skeleton(reference: str, architecture: Mapping[str, Any] | None, schedule: Schedule, frames: int) -> TempMe:
    """The model's shape on the device that is current (`meta`: no memory), by an `architecture:` block or a base."""
    clip = pretrained.build(architecture) if architecture else bases.skeleton(reference, DOMAIN, "CLIPModel")
    if not isinstance(clip, CLIPModel):
        raise InputError(f"architecture: a {type(clip).__name__}; name class: transformers:CLIPModel")
    return TempMe(clip, schedule, frames)


def vision_config(config: Any, where: str | Path) -> Any:
    """The configuration of a CLIP's image tower.

    Raises:
        InputError: the base has one tower only.
    """
    if not isinstance(config, CLIPConfig):
        raise InputError(f"base {where}: one tower of a CLIP alone; videos and sentences need both")
    vision = config.vision_config
    vision.projection_dim = config.projection_dim
    return vision
