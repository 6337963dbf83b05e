"""The names of what SPMTrack and LoRAT release: only what trains, safetensors whatever the file's ending.

Beside the tensors a file holds `expert_alpha` and `use_rsexpert` (LoRAT: `lora_alpha`, `use_rslora`), but for an alpha
of 1. The giant's feed-forward layers are called w12 and w3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domains.tracking.model.dinov2 import Sizes
from suite.adapters.methods.additive import tmoe
from suite.adapters.methods.additive.tmoe import Form
from suite.errors import InputError
from suite.hub import weights

FOLDER = "https://drive.google.com/drive/folders/1bPnVG7ZcTNHgRgVf7Jydp9zFwdQf-3bV"
"""Where SPMTrack's weights are to be fetched by hand."""

EMBEDDINGS = ("track_query", "query_embed", "token_type_embed")
PARTS = ("q", "k", "v")
_OURS = re.compile(r"(blocks\.\d+\.[\w.]+?)\.(tmoe|lora)_(\w+|[AB]\.weight)")
_SCALES = {"tmoe": ("expert_alpha", "use_rsexpert"), "lora": ("lora_alpha", "use_rslora")}
_KEY = re.compile(r"blocks\.(\d+)\.(attn\.qkv\.[qkv]|attn\.proj|mlp\.(?:fc[12]|w12|w3))\.(tmoe|lora)\.(.+)")

Kind = Literal["tmoe", "lora"]


@dataclass(frozen=True)
class Released:
    """What a file's tensors tell.

    Attributes:
        kind: tmoe is SPMTrack, lora LoRAT. sizes: of the backbone.
        settings: of the method, as `adapters.attach` takes them.
    """

    kind: Kind
    sizes: Sizes
    settings: Mapping[str, Any]


def describe(state: Mapping[str, Tensor], where: str) -> Released:
    """Read sizes, method and scale off a released state.

    Raises:
        InputError: it is of neither.
    """
    found = [match for name in state if (match := _KEY.fullmatch(name))]
    if not found:
        raise InputError(
            f"{where}: holds no TMoE of SPMTrack and no LoRA of LoRAT; give their released file, e.g. "
            f"spmtrack_base.bin from {FOLDER}"
        )
    kind: Any = found[0][3]
    first = {match[4]: state[match[0]] for match in found if match[1] == "0" and match[2] == "attn.proj"}
    down = first.get("A") if kind == "lora" else next((v for k, v in first.items() if k.startswith("compress")), None)
    if down is None:
        raise InputError(f"{where}: lacks the compression of blocks.0.attn.proj; the file is not whole")
    rank, width = down.shape
    giant = any(match[2] == "mlp.w12" for match in found)
    depth = 1 + max(int(match[1]) for match in found)
    sizes = Sizes(depth, width, max(1, width // 64), "swiglu" if giant else "mlp")
    alpha_name, rank_name = _SCALES[kind]
    # A file without it was saved with 1.
    alpha = float(state[alpha_name]) if alpha_name in state else 1.0
    scale = {"r": rank, "use_rslora": bool(state[rank_name]) if rank_name in state else False}
    if kind == "lora":
        return Released(kind, sizes, {**scale, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha})
    form: Form = "route_compression" if "compress_expert.0" in first else "default"
    form = "shared_expert" if "shared_expert" in first else form
    count = len([name for name in first if name.startswith("routed_experts.")])
    return Released(kind, sizes, {**scale, "alpha": alpha, "num_experts": count, "form": form})


def to_released(ours: Mapping[str, Tensor], scale: Mapping[str, Tensor], *, swiglu: bool = False) -> dict[str, Tensor]:
    """What trains of a tracker under the authors' names and in their order.

    Args:
        ours: by the names of `trained`, at float32.
        scale: of `scales`.
        swiglu: whether the feed-forward layers are the giant's.
    """
    released = {name: ours[name] for name in EMBEDDINGS if name in ours}
    branches: dict[str, dict[str, Tensor]] = {}
    for name, tensor in ours.items():
        if match := _OURS.fullmatch(name):
            branches.setdefault(match[1], {})[match[3]] = tensor
    for place in sorted(branches, key=_in_order):
        branch, theirs = branches[place], _renamed(place, swiglu)
        if "A.weight" in branch:
            released |= {f"{theirs}.lora.{each}": branch[f"{each}.weight"] for each in "AB"}
            continue
        parts = [f"{theirs}.{part}" for part in PARTS] if len(branch["up"]) == len(PARTS) else [theirs]
        for number, part in enumerate(parts):
            released |= {f"{part}.tmoe.{key}": value for key, value in tmoe.to_official(branch, number).items()}
    released |= {name: tensor for name, tensor in ours.items() if name.startswith("head.")}
    return {**released, **scale}


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way round: the names of `trained`."""
    ours: dict[str, Tensor] = {}
    parts: dict[str, list[dict[str, Tensor]]] = {}
    for name, tensor in state.items():
        match = _KEY.fullmatch(name)
        if match is None:
            if tensor.dim():
                ours[name] = tensor
            continue
        place = f"blocks.{match[1]}.{match[2]}".replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2")
        if match[3] == "lora":
            ours[f"{place}.lora_{match[4]}.weight"] = tensor
            continue
        fused = ".attn.qkv." in place
        whole, number = (place[:-2], PARTS.index(place[-1])) if fused else (place, 0)
        branches = parts.setdefault(whole, [{} for _ in range(len(PARTS) if fused else 1)])
        branches[number][match[4]] = tensor
    for place, branches in parts.items():
        each = [tmoe.from_official(branch) for branch in branches]
        ours |= {f"{place}.tmoe_{name}": torch.cat([part[name] for part in each]) for name in each[0]}
    return ours


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What trains of a tracker with TMoE or LoRA on it, by names without the adapter's."""
    return {
        re.sub(r"\.default(-\w+)?(?=\.|$)", "", name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def of_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter's folder by the names of `trained`."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.rglob("adapter_model.safetensors")):
        for name, tensor in weights.read(file).items():
            plain = name.removeprefix("base_model.model.")
            found[re.sub(r"(^|\.)suite_parameters\.parameters_", r"\1", plain)] = tensor
    return found


def scales(kind: Kind, alpha: float, rank_stabilised: bool) -> dict[str, Tensor]:
    """The two entries without axes that say how the branch is scaled."""
    names = _SCALES[kind]
    if alpha == 1 and not (kind == "lora" and rank_stabilised):
        return {}
    whole = int(alpha) if alpha == int(alpha) else alpha
    return {names[0]: torch.as_tensor(whole), names[1]: torch.as_tensor(rank_stabilised)}


def load_trained(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put a released state into a tracker with the same method on it.

    Raises:
        InputError: tensors are missing, unknown, of another shape or not finite.
    """
    parameters = trained(model)
    swiglu = any(".mlp.w12." in name for name in state)
    wanted = to_released(parameters, {}, swiglu=swiglu)
    given = {name: value for name, value in state.items() if value.dim()}
    weights.check_keys(given, wanted, where)
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise InputError(
                f"{where}: {name} is {tuple(value.shape)} and here {tuple(wanted[name].shape)}; it is of another model"
            )
        if not torch.isfinite(value).all():
            raise InputError(f"{where}: {name} holds NaN or infinite numbers; fetch the file again")
    for name, value in from_released(given).items():
        parameters[name].data = value.to(torch.float32)


def _renamed(place: str, swiglu: bool) -> str:
    return place.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3") if swiglu else place


def _in_order(place: str) -> tuple[int, int, str]:
    """Blocks by number, and in a block the order in which the authors' modules stand."""
    _, number, rest = place.split(".", 2)
    return (
        int(number),
        ("attn.qkv", "attn.qkv.q", "attn.qkv.k", "attn.qkv.v", "attn.proj").index(rest) if "attn" in rest else 9,
        rest,
    )
