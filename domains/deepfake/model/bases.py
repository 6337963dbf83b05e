"""Bases: the vision tower of a CLIP, from its folder or by its shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake.model.forgery_classifier import ForgeryClassifier, HeadKind
from suite import hub
from suite.clip import bases
from suite.errors import InputError

DOMAIN = "deepfake"


def shape(reference: str, kind: HeadKind, architecture: Mapping[str, Any] | None = None) -> ForgeryClassifier:
    """The classifier's shape alone, on the device that is current (`meta`: no memory).

    Args:
        architecture: keywords of a `CLIPVisionConfig`, for counting without any base at hand.

    Raises:
        InputError: there is no such base, or it has no vision tower.
    """
    if architecture:
        return ForgeryClassifier(CLIPVisionModel(_config(architecture)), kind)
    return ForgeryClassifier(bases.skeleton(reference, DOMAIN, "CLIPVisionModel"), kind)


def tower(reference: str) -> CLIPVisionModel:
    """The vision tower of a base, on the CPU.

    Raises:
        InputError: there is no such base, or it has no vision tower of a CLIP.
    """
    folder = hub.resolve(reference, DOMAIN, kind="base")
    loaded: CLIPVisionModel = bases.load_folder(folder, "CLIPVisionModel")
    loaded.name_or_path = str(folder)
    return loaded


def of_folder(folder: str | Path, kind: HeadKind) -> ForgeryClassifier:
    """A base's folder as a classifier whose head starts at random.

    Raises:
        InputError: it has no vision tower of a CLIP.
    """
    loaded = bases.load_folder(folder, "CLIPVisionModel")
    loaded.name_or_path = str(folder)
    return with_head(loaded, kind)


def with_head(vision_model: CLIPVisionModel, kind: HeadKind) -> ForgeryClassifier:
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
