"""Bases as shapes without weights, to count on: from an `architecture:` block, or a folder's configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from domains.personalized_diffusion.model.bases import ENCODERS, located, pipeline_class
from domains.personalized_diffusion.model.families import FAMILIES
from suite.errors import InputError
from suite.files import read_json


def skeleton(architecture: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Networks of an `architecture:` block by component name, with no weights where the default device is meta.

    Args:
        architecture: `unet`, or `transformer` (with its diffusers `class`), and `text_encoder`, `text_encoder_2`: each
            the fields of that component's configuration.

    Raises:
        InputError: a component is unknown or its fields do not fit it.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    made: dict[str, nn.Module] = {}
    for name, given in architecture.items():
        fields = dict(given)
        try:
            if name == "unet":
                made[name] = diffusers.UNet2DConditionModel(**fields)
            elif name == "transformer":
                made[name] = _transformer(str(fields.pop("class", "")))(**fields)
            elif name in ENCODERS:
                made[name] = CLIPTextModel(CLIPTextConfig(**fields))
            else:
                raise InputError(f"architecture: {name!r} is no component; known are unet, transformer, text_encoder")
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, InputError) else InputError(f"architecture.{name}: {error}") from error
    return made


def _transformer(name: str) -> Any:
    import diffusers

    known = {family.network for family in FAMILIES.values() if family.network}
    if name not in known:
        raise InputError(f"architecture.transformer.class is {name!r}; it is one of {', '.join(sorted(known))}")
    return getattr(diffusers, name)


def read_architecture(base: str) -> dict[str, Any]:
    """An `architecture:` block from the configuration files of a base's folder.

    Raises:
        InputError: the base cannot be had.
    """
    folder, _ = located(base)
    pipeline_class(folder)
    found: dict[str, Any] = {}
    for name in ("unet", "transformer", *ENCODERS):
        file = folder / name / "config.json"
        if file.is_file():
            fields = read_json(file)
            kind = fields.get("_class_name") or next(iter(fields.get("architectures") or ()), "")
            if name in ENCODERS and "CLIP" not in kind:
                continue
            fields = {key: value for key, value in fields.items() if not key.startswith("_")}
            found[name] = {**fields, **({"class": kind} if name == "transformer" else {})}
    return found
