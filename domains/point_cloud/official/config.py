"""The papers' own configuration files as ours: `suite point_cloud config finetune_scan_hardest.yaml --out mine.yaml`.

They are the YAML files of Point-MAE, ACT, ReCon, PointGPT, Point-M2AE, DAPT, PointGST and Point-PEFT's repositories,
those of few-shot folds among them; `base --config` takes those of pre-training. What the released code decides
elsewhere is stated: the augmentation, which it takes from the file's place, the epoch that it runs beyond `max_epoch`,
the drifting batch norms. Its selection on the test set is not taken over.
"""

from __future__ import annotations

import shlex
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
    "PointTransformer_modelnet": ("point_mae", "point_peft"),
    "Point_M2AE_ModelNet40": ("point_m2ae", "full"),
    "Point_M2AE_ScanObjectNN": ("point_m2ae", "full"),
    "GPT_Transformer": ("point_gpt", "full"),
    "GPT_Transformer_PGST": ("point_gpt", "pointgst"),
}
"""Network names of the released code: our backbone, and the method where the optimiser names no other.

`PointTransformer_best` is Point-PEFT on Point-M2AE where it has several scales.
"""

PRETRAINING = "Point_MAE"
"""The network of pre-training files that `base --config` takes."""

PARTS = {"all": "full", "only_new": "linear"}
"""What `optimizer.part` says beyond the network; `adapt` and `dapt` are what the network is."""

ARCHITECTURE = ("trans_dim", "depth", "num_heads", "encoder_dims", "num_group", "group_size", "cls_dim")
SCALES = {
    "num_groups": "num_groups", "group_sizes": "group_sizes", "encoder_dims": "encoder_dims",
    "encoder_depths": "depths", "local_radius": "masking_radius", "num_heads": "num_heads",
    "drop_path_rate": "drop_path_rate",
}  # fmt: skip
"""Fields of Point-M2AE's architecture, and what Point-PEFT's files call them within `transformer_config`."""

FOLD = "5way_10shot/0.pkl"
"""The fold that a few-shot configuration starts with; `suite point_cloud fewshot` goes through the others."""

SETS = {
    "modelnet": ("DATA_PATH", None),
    "modelnetfewshot": ("DATA_PATH", None),
    "scanobjectnn_hardest": ("ROOT", "hardest"),
    "scanobjectnn_objectbg": ("ROOT", "objbg"),
    "scanobjectnn": ("ROOT", "objbg"),
    "scanobjectnn_objectonly": ("ROOT", "objonly"),
}
"""Data sets by the name in lower case: the field with their folder, and our variant."""

VARIANTS = {"PB": "hardest", "OBJ-BG": "objbg", "OBJ": "objonly"}
"""Our variants of ScanObjectNN by what Point-M2AE's files call their `SPLIT`."""


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
    fold = stated["data"]["train"].rpartition(":")[0]
    verb = ["fewshot", str(Path(fold).parent)] if fold.endswith(".pkl") else ["train"]
    lines = [f"config  {out}", f"next    {shlex.join(['suite', 'point_cloud', *verb, '--config', str(out)])}"]
    return {"config": str(out), "experiment": stated, "message": "\n".join(lines)}


def translate(source: Path, base: str, data: str | None = None) -> dict[str, Any]:
    """Our configuration for a released one.

    Raises:
        InputError: the file is none of theirs, or names a network or a data set that there is none of here.
    """
    released = _mapping(source)
    network = _field(released, source, "model", "NAME")
    if network == PRETRAINING:
        raise InputError(
            f"{source}: of pre-training; give it to `suite point_cloud base CLOUDS --config {source.name}`"
        )
    if network not in NETWORKS:
        raise InputError(f"{source}: model.NAME {network!r} has no counterpart; known are {', '.join(NETWORKS)}")
    backbone, method = NETWORKS[network]
    rate = _field(released, source, "optimizer", "kwargs", "lr")
    method = PARTS.get(str(released["optimizer"].get("part")), method)
    if "num_groups" in released["model"]:
        backbone = "point_m2ae"
    name, found, variant = _data_set(released, source, data)
    shape = _scales(released, source, name) if backbone == "point_m2ae" else _one_scale(released, source, backbone)
    folds = name == "modelnetfewshot"
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
            **_smoothing(released["model"], shape["cls_dim"]),
        },
        "data": {
            "task": "classification",
            "train": f"{found}/{FOLD}:train" if folds else f"{found}:train",
            "val": None if folds else f"{found}:val",
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
            "monitor": None if folds else "val/accuracy",
        },
        "architecture": {"class": backbone, **shape},
    }


def pretraining(source: Path, clouds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape of a backbone and the schedule of a released pre-training configuration, for a number of clouds.

    Returns:
        Fields of `BackboneConfig` and of `model.pretraining.Schedule`; steps are counted as the released loop does,
        which leaves out a last batch that is not full.

    Raises:
        InputError: the file is none of Point-MAE's pre-training.
    """
    released = _mapping(source)
    network = _field(released, source, "model", "NAME")
    if network != PRETRAINING:
        raise InputError(f"{source}: model.NAME {network!r}; pre-training here is Point-MAE's, {PRETRAINING} alone")
    inner = _field(released, source, "model", "transformer_config")
    if inner.get("mask_type", "rand") != "rand" or released["model"].get("loss", "cdl2") != "cdl2":
        raise InputError(f"{source}: patches are masked at random here and compared by cdl2; the file wants others")
    names = ("trans_dim", "encoder_dims", "depth", "num_heads", "drop_path_rate")
    shape = {name: _field(released, source, "model", "transformer_config", name) for name in names}
    shape |= {name: _field(released, source, "model", name) for name in ("num_group", "group_size")}
    batch = min(_field(released, source, "total_bs"), clouds)
    epoch = clouds // batch
    schedule = {
        "batch": batch,
        "steps": _field(released, source, "max_epoch") * epoch,
        "warmup": _field(released, source, "scheduler", "kwargs", "initial_epochs") * epoch,
        "lr": _field(released, source, "optimizer", "kwargs", "lr"),
        "decay": _field(released, source, "optimizer", "kwargs", "weight_decay"),
        "points": _field(released, source, "npoints"),
        "mask_ratio": _field(released, source, "model", "transformer_config", "mask_ratio"),
        "decoder_depth": _field(released, source, "model", "transformer_config", "decoder_depth"),
    }
    return shape, schedule


def _one_scale(released: Mapping[str, Any], source: Path, backbone: str) -> dict[str, Any]:
    """The architecture of Point-MAE and PointGPT."""
    shape = {name: _field(released, source, "model", name) for name in ARCHITECTURE}
    if backbone == "point_mae":
        shape["drop_path_rate"] = released["model"].get("drop_path_rate", 0.1)
    return shape


def _scales(released: Mapping[str, Any], source: Path, name: str) -> dict[str, Any]:
    """The architecture of Point-M2AE, which some files hold in `transformer_config`."""
    network = dict(released["model"])
    inner = network.get("transformer_config") or {}
    network |= {ours: inner[theirs] for ours, theirs in SCALES.items() if theirs in inner}
    shape = {ours: _field({"model": network}, source, "model", ours) for ours in SCALES}
    return {**shape, "cls_dim": network.get("cls_dim", 40 if name.startswith("modelnet") else 15)}


def _smoothing(network: Mapping[str, Any], classes: int) -> dict[str, float]:
    """Label smoothing: the released code shares it among the other classes, PyTorch among all of them."""
    smooth = float(network.get("smooth") or 0)
    return {"label_smoothing": smooth * classes / (classes - 1)} if smooth else {}


def _options(network: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The method's own settings."""
    if method == "pointgst":
        return {name: network[name] for name in ("rank", "local") if name in network}
    if method == "dapt":
        names = {"rank": "rank", "drop_adapter_rate": "dropout"}
        return {ours: network[theirs] for theirs, ours in names.items() if network.get(theirs)}
    if method == "point_peft":
        width = (network.get("adapter_config") or {}).get("adapter_dim", 16)
        # Point-M2AE's files name one a scale.
        return {"adapter_dim": max(width) if isinstance(width, list) else width}
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
    name = str(stated.get("NAME", included.stem)).strip().lower().replace("modelnet40", "modelnet")
    if name not in SETS:
        raise InputError(f"{source}: data set {name!r} has no counterpart; known are {', '.join(SETS)}")
    field, variant = SETS[name]
    folder = data or stated.get(field)
    if folder is None:
        raise InputError(f"{source}: {included} is in none of the folders above it; name the set's folder with --data")
    if variant is not None and "SPLIT" in stated:
        variant = VARIANTS.get(str(stated["SPLIT"]), variant)
    elif variant is not None and Path(str(folder)).name.endswith("_nobg"):
        variant = "objonly"
    return name, str(folder), variant


def _mapping(file: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(read_text(file, encoding=None))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; give a released one") from None
    except (OSError, yaml.YAMLError, RecursionError) as error:
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
