"""Bases: the vision tower of a CLIP, a Perception Encoder or a DINOv3, from its folder or by its shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake.model import dino, perception
from domains.deepfake.model.dino import Dino
from domains.deepfake.model.forgery_classifier import ForgeryClassifier, HeadKind
from domains.deepfake.model.perception import PerceptionEncoder
from suite import hub
from suite.clip import bases, pictures
from suite.clip.pictures import Preprocessing
from suite.errors import InputError
from suite.files import read_json

DOMAIN = "deepfake"

Tower: TypeAlias = CLIPVisionModel | PerceptionEncoder | Dino


def shape(reference: str, kind: HeadKind, architecture: Mapping[str, Any] | None = None) -> ForgeryClassifier:
    """The classifier's shape alone, on the device that is current (`meta`: no memory).

    Args:
        architecture: keywords of a `CLIPVisionConfig`, or `timm`, the name of a Perception Encoder, or those of a
            `DINOv3ViTConfig` with its `model_type`; for counting without any base at hand.

    Raises:
        InputError: there is no such base, or it has no vision tower.
    """
    if architecture and "timm" in architecture:
        named = dict(architecture)
        return ForgeryClassifier(perception.shape(named.pop("timm"), named), kind)
    if architecture and architecture.get("model_type") == dino.KIND:
        return ForgeryClassifier(dino.shape(architecture), kind)
    if architecture:
        return ForgeryClassifier(CLIPVisionModel(_config(architecture)), kind)
    folder = hub.resolve(reference, DOMAIN, kind="base")
    if perception.is_perception(folder):
        config = read_json(folder / "config.json")
        return ForgeryClassifier(perception.shape(config["architecture"], config.get("model_args")), kind)
    if dino.is_dino(folder):
        return ForgeryClassifier(dino.skeleton(folder), kind)
    return ForgeryClassifier(bases.skeleton(reference, DOMAIN, "CLIPVisionModel"), kind)


def tower(reference: str) -> Tower:
    """The vision tower of a base, on the CPU.

    Raises:
        InputError: there is no such base, or it has no vision tower of a CLIP.
    """
    return _of(hub.resolve(reference, DOMAIN, kind="base"))


def preprocessing(folder: str | Path) -> Preprocessing:
    """How a base's pictures are prepared.

    Raises:
        InputError: the folder holds none of these towers.
    """
    if perception.is_perception(folder):
        return perception.PREPROCESSING
    if dino.is_dino(folder):
        return dino.PREPROCESSING
    return pictures.of_base(folder, cut="transformers")


_SIZES = {"width": "hidden_size", "layers": "num_hidden_layers", "patch": "patch_size"}


def sizes(base: str | Path | Tower) -> dict[str, int]:
    """Width, layers and patch of a tower, or of a base's folder by its configuration alone; empty where it tells none.

    Perception Encoders' configurations tell a name in place of sizes.
    """
    if isinstance(base, str | Path):
        file = Path(base) / "config.json"
        stated = read_json(file) if file.is_file() else {}
        stated = stated.get("vision_config", stated)
    else:
        stated = {name: getattr(base.config, name, None) for name in _SIZES.values()}
    return {name: int(stated[key]) for name, key in _SIZES.items() if isinstance(stated.get(key), int)}


def of_folder(folder: str | Path, kind: HeadKind) -> ForgeryClassifier:
    """A base's folder as a classifier whose head starts at random.

    Raises:
        InputError: it has no vision tower of a CLIP.
    """
    return with_head(_of(folder), kind)


def _of(folder: str | Path) -> Tower:
    if perception.is_perception(folder):
        return perception.load_folder(folder)
    if dino.is_dino(folder):
        return dino.load_folder(folder)
    loaded: CLIPVisionModel = bases.load_folder(folder, "CLIPVisionModel")
    loaded.name_or_path = str(folder)
    return loaded


def with_head(vision_model: Tower, kind: HeadKind) -> ForgeryClassifier:
    """A tower of `tower` with a head that starts at random, in evaluation mode."""
    model = ForgeryClassifier(vision_model, kind)
    # The base is known by its files: the head starts at random and is no part of it.
    model.name_or_path = vision_model.name_or_path
    return model.eval()


def _config(architecture: Mapping[str, Any]) -> CLIPVisionConfig:
    known = CLIPVisionConfig().to_dict()
    if unknown := [name for name in architecture if name not in known]:
        raise InputError(f"architecture: {unknown[0]!r} is no field of a CLIPVisionConfig; remove it")
    return CLIPVisionConfig(**architecture)
