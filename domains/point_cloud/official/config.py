"""The papers' own configuration files as ours: `suite point_cloud config finetune_scan_hardest.yaml --out mine.yaml`.

They are the YAML files of Point-MAE, ACT, ReCon, PointGPT, PointGST and Point-PEFT's repositories. What the released
code decides elsewhere is stated: the augmentation, which it takes from the file's place, the epoch that it runs beyond
`max_epoch`, the drifting batch norms. Its selection on the test set is not taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from suite.errors import InputError
from suite.files import read_text, write_text

NETWORKS = {
    "PointTransformer": ("point_mae", "full"),
    "PointTransformer_PGST": ("point_mae", "pointgst"),
    "PointTransformer_DAPT": ("point_mae", "dapt"),
    "PointTransformer_best": ("point_mae", "point_peft"),
    "GPT_Transformer": ("point_gpt", "full"),
    "GPT_Transformer_PGST": ("point_gpt", "pointgst"),
}
"""Network names of the released code: our backbone, and the method where the optimiser names no other."""

PARTS = {"all": "full", "only_new": "linear"}
"""What `optimizer.part` says beyond the network; `adapt` and `dapt` are what the network is."""

ARCHITECTURE = ("trans_dim", "depth", "num_heads", "encoder_dims", "num_group", "group_size", "cls_dim")
SETS = {
    "modelnet": ("DATA_PATH", None),
    "scanobjectnn_hardest": ("ROOT", "hardest"),
    "scanobjectnn_objectbg": ("ROOT", "objbg"),
    "scanobjectnn": ("ROOT", "objbg"),
    "scanobjectnn_objectonly": ("ROOT", "objonly"),
}
"""Data sets by the name in lower case: the field with their folder, and our variant."""


def config(source: Path, *, out: Path, base: str, data: str | None = None) -> dict[str, Any]:
    """Write a configuration of ours from a released one.

    Args:
        source: the released YAML file.
        out: the file to write.
        base: reference of the pre-trained base.
        data: the data set's folder; the one that the released data configuration names where it is left out.
    """
    stated = translate(source, base, data)
    text = f"# From {source.name}.\n" + yaml.safe_dump(stated, sort_keys=False)
    write_text(out, text)
    lines = [f"config  {out}", f"next    suite point_cloud train --config {out}"]
    return {"config": str(out), "experiment": stated, "message": "\n".join(lines)}


def translate(source: Path, base: str, data: str | None = None) -> dict[str, Any]:
    """Our configuration for a released one.

    Raises:
        InputError: the file is none of theirs, or names a network or a data set that there is none of here.
    """
    released = _mapping(source)
    network = _field(released, source, "model", "NAME")
    if network not in NETWORKS:
        raise InputError(f"{source}: model.NAME {network!r} has no counterpart; known are {', '.join(NETWORKS)}")
    backbone, method = NETWORKS[network]
    rate = _field(released, source, "optimizer", "kwargs", "lr")
    method = PARTS.get(str(released["optimizer"].get("part")), method)
    shape = {name: _field(released, source, "model", name) for name in ARCHITECTURE}
    if backbone == "point_mae":
        shape["drop_path_rate"] = released["model"].get("drop_path_rate", 0.1)
    name, found, variant = _data_set(released, source, data)
    return {
        "domain": "point_cloud",
        "task": "classification",
        "base": base,
        "seed": 0,
        "recipe": {
            "adapter": {"preset": method, **_options(released["model"], method)},
            "freeze_bn": False,
            "rates": "published",
            "warmup_epochs": _field(released, source, "scheduler", "kwargs", "initial_epochs"),
        },
        "data": {
            "task": "classification",
            "train": f"{found}:train",
            "val": f"{found}:val",
            **({"variant": variant} if variant else {}),
            "npoints": _field(released, source, "npoints"),
            "batch_size": _field(released, source, "total_bs"),
            "augment": _augmentation(source, name, method),
            "drop_last": True,
        },
        "trainer": {
            "max_epochs": _field(released, source, "max_epoch") + 1,
            "lr": rate,
            "weight_decay": _field(released, source, "optimizer", "kwargs", "weight_decay"),
            "gradient_clip_val": float(released.get("grad_norm_clip", 10)),
            "accumulate_grad_batches": released.get("step_per_update", 1),
            "precision": "32-true",
            "monitor": "val/accuracy",
        },
        "architecture": {"class": backbone, **shape},
    }


def _options(network: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The method's own settings."""
    if method == "pointgst":
        return {name: network[name] for name in ("rank", "local") if name in network}
    if method == "point_peft":
        return {"adapter_dim": (network.get("adapter_config") or {}).get("adapter_dim", 16)}
    return {}


def _augmentation(source: Path, name: str, method: str) -> str:
    """What the released code does: it looks for `recon` and `act` in the file's path."""
    scanned = name.startswith("scanobjectnn")
    if scanned and method == "point_peft":
        return "scale_rotate"
    if scanned and {"recon", "act"} & set(source.parts):
        return "rotate"
    return "scale_translate"


def _data_set(released: Mapping[str, Any], source: Path, data: str | None) -> tuple[str, str, str | None]:
    """The set's name in lower case, its folder, and our variant of it."""
    included = Path(_field(released, source, "dataset", "train", "_base_"))
    file = next((parent / included for parent in source.resolve().parents if (parent / included).is_file()), None)
    stated = _mapping(file) if file else {}
    name = str(stated.get("NAME", included.stem.removesuffix("40"))).lower()
    if name not in SETS:
        raise InputError(f"{source}: data set {name!r} has no counterpart; known are {', '.join(SETS)}")
    field, variant = SETS[name]
    folder = data or stated.get(field)
    if folder is None:
        raise InputError(f"{source}: {included} is in none of the folders above it; name the set's folder with --data")
    return name, str(folder), variant


def _mapping(file: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(read_text(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: no readable YAML file ({type(error).__name__}); give a released one") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{file}: no configuration of the released code: it holds no fields")
    return loaded


def _field(released: Mapping[str, Any], source: Path, *path: str) -> Any:
    value: Any = released
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"{source}: no configuration of the released code: it lacks {'.'.join(path)}")
        value = value[name]
    return value
