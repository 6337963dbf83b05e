"""Bases: a DINOv2 without registers in any of its three layouts, made into a tracker.

The original release and timm name the same tensors alike, but for the giant's SwiGLU; transformers has names of its own
and query, key and value apart. Class and mask token are left out: trackers use patches alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.tracking.model.dinov2 import Sizes, resized_positions
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from suite import hub
from suite.errors import InputError
from suite.files import read_json
from suite.hub import weights

DOMAIN = "tracking"
HEAD_WIDTH = 64
"""Of every released DINOv2; others say in their configuration how many heads they have."""

_RULES = [
    (r"(?:dinov2\.)?embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"(?:dinov2\.)?embeddings\.position_embeddings", "pos_embed"),
    (r"(?:dinov2\.)?layernorm\.(weight|bias)", r"norm.\1"),
    (r"(?:dinov2\.)?encoder\.layer\.(\d+)\.(norm[12])\.(weight|bias)", r"blocks.\1.\2.\3"),
    (
        r"(?:dinov2\.)?encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)",
        r"blocks.\1.attn.\2.\3",
    ),
    (r"(?:dinov2\.)?encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"(?:dinov2\.)?encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"(?:dinov2\.)?encoder\.layer\.(\d+)\.mlp\.(?:weights_in|fc1)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"(?:dinov2\.)?encoder\.layer\.(\d+)\.mlp\.(?:weights_out|fc2)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"blocks\.(\d+)\.mlp\.w12\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"((?:blocks\.\d+\.(?:norm[12]|attn|mlp|ls[12])|norm|patch_embed)\..*|pos_embed)", r"\1"),
]
_UNUSED = (r"(.*\.)?(cls_token|mask_token)", r"head\..*", r"(dinov2\.)?classifier\..*")


def load(reference: str, settings: TrackerSettings, *, split: bool = False, drop_path: float = 0.0) -> SpmTrack:
    """The tracker of a base, its head and embeddings at random, in evaluation mode.

    Args:
        split: query, key and value are three layers, for LoRA.

    Raises:
        InputError: there is no such base, it holds no DINOv2, or the settings are of another patch.
    """
    folder = hub.resolve(reference, DOMAIN, kind="base")
    return load_folder(folder, settings, split=split, drop_path=drop_path)


def load_folder(
    folder: str | Path, settings: TrackerSettings, *, split: bool = False, drop_path: float = 0.0
) -> SpmTrack:
    """As `load`, of a base's folder."""
    folder = Path(folder)
    state = backbone_state(_read(folder), str(folder))
    model = SpmTrack(sizes_of(state, folder), _fitting(settings, state, folder), split=split, drop_path=drop_path)
    load_backbone(model, state)
    # The base is known by its files: head and embeddings start at random and are no part of it.
    model.name_or_path = str(folder)
    return model.eval()


def skeleton(
    reference: str, architecture: Mapping[str, Any] | None, settings: TrackerSettings, *, split: bool = False
) -> SpmTrack:
    """The tracker's shape on the device that is current (`meta`: no memory).

    Args:
        architecture: `{size: base}` or fields of `Sizes`; the base's own where left out.

    Raises:
        InputError: there is no such base, or no such size.
    """
    if architecture:
        return SpmTrack(Sizes.of(architecture), settings, split=split)
    folder = hub.resolve(reference, DOMAIN, kind="base")
    state = backbone_state(_read(folder), str(folder))
    return SpmTrack(sizes_of(state, folder), _fitting(settings, state, folder), split=split)


def load_backbone(model: SpmTrack, state: Mapping[str, Tensor]) -> None:
    """Put a backbone's tensors, as `backbone_state` gives them, into a tracker; its own stay as they are.

    The table of positions is resized to the search crop's grid once.

    Raises:
        InputError: tensors are missing or of another shape.
    """
    ours = dict(state)
    positions = ours["pos_embed"]
    side = int((positions.shape[1] - 1) ** 0.5)
    if side * side + 1 == positions.shape[1]:
        positions = positions[:, 1:]  # the class token's row
    ours["pos_embed"] = resized_positions(positions, model.settings.search_grid)
    if any(".attn.qkv.q." in name for name in model.state_dict()):
        ours = split_qkv(ours)
    with torch.no_grad():
        found = model.load_state_dict({name: value.float() for name, value in ours.items()}, strict=False)
    own = ("track_query", "query_embed", "token_type_embed", "head.")
    if lacking := [name for name in found.missing_keys if not name.startswith(own)]:
        raise InputError(f"the base lacks {lacking[0]} of a DINOv2; download it whole")
    if found.unexpected_keys:
        raise InputError(f"the base has {found.unexpected_keys[0]}, which no DINOv2 has")


def backbone_state(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """A DINOv2 in any layout under the tracker's names, query, key and value in one.

    Raises:
        InputError: it has registers, or is no DINOv2.
    """
    if register := [name for name in state if re.search(r"reg(ister)?_tokens?$", name)]:
        raise InputError(
            f"{where}: a DINOv2 with registers ({register[0]}), whose weights are others; take the one without, e.g. "
            "hf:timm/vit_base_patch14_dinov2.lvd142m"
        )
    renamed = weights.rename(state, _RULES, ignore=_UNUSED, where=where)
    if "pos_embed" not in renamed or "patch_embed.proj.weight" not in renamed:
        raise InputError(f"{where}: no DINOv2, it has no table of positions or no patch embedding")
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [renamed.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        renamed[name.replace("query", "qkv")] = torch.cat(parts)
    return renamed


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of fused projections as those of `SplitQkv`."""
    split: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".attn.qkv." not in name:
            split[name] = value
            continue
        for part, tensor in zip("qkv", value.chunk(3), strict=True):
            split[name.replace(".attn.qkv.", f".attn.qkv.{part}.")] = tensor
    return split


def sizes_of(state: Mapping[str, Tensor], folder: str | Path | None = None) -> Sizes:
    """What a backbone's tensors, under the tracker's names, are made of.

    Args:
        folder: of the base, whose configuration may say how many heads it has.

    Raises:
        InputError: the tensors are of no DINOv2.
    """
    kernel, positions = state["patch_embed.proj.weight"], state["pos_embed"]
    width, depth = kernel.shape[0], len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    inside = state.get("blocks.0.mlp.fc1.weight")
    if inside is None:
        raise InputError(f"{folder or 'the base'}: no DINOv2, it has no block")
    ffn: Any = "mlp" if inside.shape[0] == 4 * width else "swiglu"
    grid = int(positions.shape[1] ** 0.5)
    return Sizes(depth, width, _heads(folder) or max(1, width // HEAD_WIDTH), ffn, kernel.shape[-1], grid)


def _heads(folder: str | Path | None) -> int | None:
    file = Path(folder) / "config.json" if folder else None
    if file is None or not file.is_file():
        return None
    config = read_json(file)
    stated = config.get("num_attention_heads") or (config.get("model_args") or {}).get("num_heads")
    return stated if isinstance(stated, int) and stated > 0 else None


def _fitting(settings: TrackerSettings, state: Mapping[str, Tensor], folder: Path) -> TrackerSettings:
    patch = state["patch_embed.proj.weight"].shape[-1]
    if patch != settings.patch:
        raise InputError(
            f"base {folder.name} has patches of {patch} pixels and the settings say {settings.patch}; set "
            f"recipe.tracker.patch to {patch}, and the sizes of crops to multiples of it"
        )
    return settings


def _read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a base's folder.

    Raises:
        InputError: it holds no weights.
    """
    if folder.is_file():
        return weights.read(folder)
    files = sorted(folder.glob("*.safetensors")) or sorted((*folder.glob("*.pth"), *folder.glob("*.bin")))
    if not files:
        raise InputError(f"base {folder}: no weights in it (model.safetensors, or the released .pth)")
    whole = folder / "model.safetensors"
    state: dict[str, Tensor] = {}
    for file in [whole] if whole.is_file() else files:
        state.update(weights.read(file))
    return state
