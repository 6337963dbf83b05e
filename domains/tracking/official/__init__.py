"""The authors' released trackers <-> ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.tracking.model import attachments
from domains.tracking.model.dinov2 import SIZES
from domains.tracking.model.manifest import Manifest
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.official import keys
from domains.tracking.official.keys import Released
from domains.tracking.types import MemoryPolicy
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.files import read_json
from suite.hub import weights

FILES = {"tmoe": "spmtrack_{}.bin", "lora": "lorat_{}.bin"}
_LORAT = {224: {"template_size": 112, "search_area_factor": 4.0}, 378: {}}


def convert(
    source: Path,
    out: Path,
    *,
    base: str | None = None,
    template_size: int | None = None,
    search_size: int = 378,
    memory_policy: MemoryPolicy = "segments",
    pickle: bool = False,
) -> None:
    """Turn a released SPMTrack or LoRAT into an adapter folder; its frozen DINOv2 is left to the base that it names.

    Args:
        source: the file; its content tells what it is, not its ending.
        out: an existing, empty folder.
        base: reference of the DINOv2; timm's of the file's size where left out.
        template_size, search_size: pixels of a side, which the file does not say; the published ones where left out.
        memory_policy: segments, or thirds (published for B on LaSOT).
        pickle: read a torch file, too; never anything but tensors.

    Raises:
        InputError: the file is of neither, or tensors are missing, unknown, of another shape or not finite.
    """
    state = read(source, pickle=pickle)
    released = keys.describe(state, str(source))
    settings: dict[str, Any] = {"search_size": search_size, "memory_policy": memory_policy}
    if released.kind == "lora":
        settings |= {"num_templates": 1, "state_token": False, **_LORAT.get(search_size, {})}
    if template_size is not None:
        settings["template_size"] = template_size
    tracker = TrackerSettings.from_dict(settings)
    model = _attached(released, tracker)
    keys.load_trained(model, state, str(source))
    stated = Manifest(tracker, released.kind == "lora", "spmtrack" if released.kind == "tmoe" else "lorat")
    adapters.save(model, out, base=base or _base_of(released), extra=stated.to_dict())


def export(source: Path, out: Path) -> None:
    """Write an adapter as the file that the authors' code loads: safetensors called `.bin`, without the backbone.

    Args:
        source: the adapter's folder. out: an existing, empty folder.

    Raises:
        InputError: the adapter is neither TMoE nor LoRA on every linear layer.
    """
    ours = keys.of_folder(source)
    config = {name: value for part in ("tmoe", "lora") for name, value in _config(source, part).items()}
    kind: Any = "tmoe" if "num_experts" in config else "lora"
    scale = keys.scales(kind, float(config.get("alpha", config.get("lora_alpha", 1.0))), bool(config.get("use_rslora")))
    inside = ours.get("blocks.0.mlp.fc2.tmoe_compress", ours.get("blocks.0.mlp.fc2.lora_A.weight"))
    types = ours.get("token_type_embed")
    if inside is None or types is None:
        raise InputError(f"{source}: neither SPMTrack's TMoE nor LoRAT's LoRA, which alone have a released layout")
    state = keys.to_released(ours, scale, swiglu=inside.shape[-1] != 4 * types.shape[-1])
    released = keys.describe(state, str(source))
    weights.write(state, out / FILES[released.kind].format(_name(released)))


def _config(source: Path, part: str) -> dict[str, Any]:
    file = source / part / "adapter_config.json"
    return dict(read_json(file)) if file.is_file() else {}


def read(source: Path, *, pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a released file, which is safetensors under the name of a torch file.

    Raises:
        InputError: it cannot be read, or is a pickle.
    """
    if source.is_dir():
        raise InputError(f"{source}: a folder; give the released file, e.g. spmtrack_base.bin")
    with source.open("rb") as opened:
        start = opened.read(9)
    if start[8:9] == b"{":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(source)
        except SafetensorError as error:
            raise InputError(f"{source} is no whole safetensors file ({error}); fetch it again") from error
    if not pickle:
        raise InputError(
            f"{source} is no safetensors file, as the released ones are whatever their ending; a torch file of plain "
            "tensors is read with --option pickle=true (nothing in it is run)"
        )
    return weights.read(source)


def _attached(released: Released, tracker: TrackerSettings) -> SpmTrack:
    """A tracker of the file's shape, its backbone without memory."""
    preset = "spmtrack" if released.kind == "tmoe" else "lorat"
    section = AdapterSection.of({"preset": preset, **released.settings}, attachments.PRESETS)
    with torch.device("meta"):
        model = SpmTrack(released.sizes, tracker, split=released.kind == "lora")
        attached: Any = attachments.attach_section(model, section)
    _materialise(attached)
    return attached


def _materialise(model: nn.Module) -> None:
    """Give memory to what trains, and to nothing else; what is one parameter in two places stays one."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                empty = made.setdefault(id(parameter), nn.Parameter(torch.empty_like(parameter, device="cpu")))
                module._parameters[name] = empty


def _name(released: Released) -> str:
    found = [name for name, size in SIZES.items() if size["width"] == released.sizes.width]
    return found[0] if found else str(released.sizes.width)


def _base_of(released: Released) -> str:
    return f"hf:timm/vit_{_name(released)}_patch14_dinov2.lvd142m"
