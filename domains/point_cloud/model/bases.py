"""Backbones by name, and what each method of the comparison puts on them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from domains.point_cloud.model.part_segmenter import PartSegmenter, SegmentationConfig
from domains.point_cloud.model.point_gpt import PointGPT
from domains.point_cloud.model.point_m2ae import HierarchyConfig, PointM2AE
from domains.point_cloud.model.point_mae import PointTransformer
from suite.errors import InputError
from suite.files import BASE, atomic_folder, read_json
from suite.hub import weights

BACKBONES: Mapping[str, type[nn.Module]] = {
    "point_mae": PointTransformer,
    "point_gpt": PointGPT,
    "point_m2ae": PointM2AE,
    "part_segmenter": PartSegmenter,
}
"""ACT and ReCon share Point-MAE's class and differ in their weights."""

COLOURED = ("point_mae", "part_segmenter")
"""Backbones that can see values of a point beside its place."""

FIRST = "encoder.first_conv.0.weight"
"""What sees the points themselves; beside a base's own columns those of further values start at zero."""


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """A backbone from `{"class": name, **BackboneConfig fields, "head": SegmentationConfig fields}`.

    Point-M2AE takes the fields of HierarchyConfig.

    Raises:
        InputError: the class or a field is unknown.
    """
    settings = _tuples(architecture)
    name, head = settings.pop("class", "point_mae"), settings.pop("head", None)
    if name not in BACKBONES:
        raise InputError(f"unknown point-cloud backbone {name!r}; choose from {', '.join(BACKBONES)}")
    try:
        if name == "point_m2ae":
            return PointM2AE(HierarchyConfig(**settings))
        config = BackboneConfig(**settings)
        if config.channels and name not in COLOURED:
            raise InputError(
                f"{name} sees places alone; colour, normals and intensity go into {' and '.join(COLOURED)}"
            )
        if name == "part_segmenter":
            return PartSegmenter(config, SegmentationConfig(**_tuples(head or {})))
    except TypeError as error:
        raise InputError(f"architecture of {name}: {str(error).split(') ', 1)[-1]}") from None
    return BACKBONES[name](config)


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what JSON and YAML made lists of as the tuples that frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def save_base(model: nn.Module, folder: str | Path, card: str = "", canonical: bool = False) -> Path:
    """Write a pre-trained backbone as a base folder: `config.json`, `model.safetensors`, `README.md`.

    The state is that of the backbone without class token and head, which every adapter brings itself.

    Args:
        canonical: state the default number of patches and classes, whatever this model has: weights that are the same
            shall be the same base.
    """
    encoder = model.MAE_encoder if isinstance(model, PointMAE) else model
    own = {PointGPT: "point_gpt", PointM2AE: "point_m2ae"}
    kind = next((name for kind, name in own.items() if isinstance(model, kind)), "point_mae")
    state = {key: value for key, value in encoder.state_dict().items() if "cls_" not in key and ".suite_" not in key}
    with atomic_folder(folder, BASE) as target:
        config = model.config
        if canonical:
            fields = ("num_group", "group_size", "cls_dim")
            config = config.with_(**{name: getattr(BackboneConfig, name) for name in fields})
        architecture = {"class": kind, **dataclasses.asdict(config)}
        (target / "config.json").write_text(json.dumps(architecture, indent=2) + "\n", encoding="utf-8")
        weights.write(state, target / "model.safetensors")
        if card:
            (target / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def load_base_folder(folder: str | Path, **changes: Any) -> nn.Module:
    """The backbone of a base folder.

    Args:
        changes: fields of the architecture that the task decides: `cls_dim`, `drop_path_rate`, `num_group`,
            `class` and `head` for part segmentation.

    Raises:
        InputError: the folder holds no base of this family.
    """
    folder = Path(folder)
    model = build({**read_architecture(folder), **changes})
    load_base(model, weights.read(folder / "model.safetensors"), where=str(folder))
    # The base is known by its files: class token and head start at random and are no part of it.
    model.name_or_path = str(folder)
    return model


def read_architecture(folder: str | Path) -> dict[str, Any]:
    """The architecture that a base folder states.

    Raises:
        InputError: there is none.
    """
    file = Path(folder) / "config.json"
    if not file.is_file():
        raise InputError(f"{folder} is no base of point clouds: no readable config.json")
    architecture = read_json(file)
    if architecture.get("class") not in BACKBONES:
        raise InputError(f"{file}: class {architecture.get('class')!r} is none of {', '.join(BACKBONES)}")
    return architecture


PREFIXES = ("MAE_encoder.", "ACT_encoder.", "base_model.", "GPT_Transformer.", "transformer_q.")
"""What pre-training puts before the keys of the part that fine-tuning keeps."""


_SCALES = {
    "h_encoder.token_embed.": "encoders.",
    "h_encoder.encoder_pos_embeds.": "pos_embeds.",
    "h_encoder.encoder_blocks.": "blocks.",
}
"""Point-M2AE's pre-training names, and those under which Point-PEFT adapts it."""


_UNUSED = re.compile(
    r"(mask_token|decoder_pos_embed\.|MAE_decoder\.|ACT_decoder\.|increase_dim\.|.*cls_head_finetune\.)"
    r"|h_encoder\.encoder_norms\.|h_decoder\.|decoder_|token_prop\.|rec_head\."
)


def load_base(model: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> list[str]:
    """Put a pre-trained state into a backbone; return the keys of the file that were not used.

    Class token, its position, the head and adapters may be missing: they are trained. Decoder parts may be left over.

    Raises:
        InputError: a tensor of the encoder or its blocks is missing or of another shape. The model is unchanged.
    """
    own = {key: value for key, value in model.state_dict().items() if ".suite_" not in key}
    found: dict[str, Tensor] = {}
    unused = []
    for key, value in state.items():
        name = _plain(key)
        if name in own and not re.match(r".*cls_head_finetune\.", name):
            found[name] = value
        else:
            unused.append(key)
    first = found.get(FIRST)
    if first is not None and first.shape[1] == 3 < own[FIRST].shape[1]:
        found[FIRST] = torch.cat([first, first.new_zeros(len(first), own[FIRST].shape[1] - 3, 1)], 1)
    needed = [key for key in own if key.startswith(_ENCODER) and "cls_" not in key]
    missing = [key for key in needed if key not in found and not key.endswith("num_batches_tracked")]
    wrong = [f"{key} {tuple(found[key].shape)}" for key in found if found[key].shape != own[key].shape]
    unknown = [key for key in unused if not _UNUSED.match(key)]
    if missing or wrong or unknown:
        parts = {"missing": missing, "of another shape": wrong, "unknown": unknown}
        listed = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:4])}" for what, keys in parts.items() if keys)
        raise InputError(f"{where} is not a base of this backbone ({listed}); check the file and the architecture")
    model.load_state_dict(found, strict=False)
    return unused


_ENCODER = ("blocks.", "encoder.", "pos_embed.", "encoders.", "pos_embeds.")
"""Where the keys begin that a pre-trained state must have."""


def _plain(key: str) -> str:
    """A key of a pre-training file as the backbone calls it."""
    for prefix, own in (*_SCALES.items(), *((prefix, "") for prefix in PREFIXES)):
        if key.startswith(prefix):
            return own + key.removeprefix(prefix)
    return key
