"""The papers' own settings as a configuration of ours: `suite deepfake config hparams.yaml --out mine.yaml`.

They are the `hparams.yaml` of arXiv 2503.19683's runs and of GenD's, nested or with dots in their keys. What their code
decides by its defaults is stated; what has no counterpart is said.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from suite.errors import InputError
from suite.files import read_text, write_text
from suite.training.names import check_names

PUBLISHED: Mapping[str, Any] = {
    "run_name": "exp-name-1",
    "run_dir": "runs/exp",
    "seed": 42,
    "throw_exception_if_run_exists": False,
    "num_classes": 2,
    "checkpoint": None,
    "backbone": "openai/clip-vit-base-patch32",
    "freeze_feature_extractor": True,
    "unfreeze_layers": [],
    "head": "linear",
    "proj_feat_dim": 128,
    "normalize_features": False,
    "peft.enabled": False,
    "peft.lora.enabled": False,
    "peft.lora.target_modules": ["out_proj"],
    "peft.lora.rank": 1,
    "peft.lora.alpha": 32,
    "peft.lora.dropout": 0.1,
    "peft.lora.bias": "none",
    "peft.lora.use_rslora": False,
    "peft.lora.use_dora": False,
    "peft.ln_tuning.enabled": False,
    "peft.ln_tuning.target_modules": ["pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm", "layernorm"],
    "slerp_feature_augmentation": False,
    "slerp_feature_augmentation_range": [0.0, 1.0],
    "trn_files": [],
    "val_files": [],
    "tst_files": [],
    "limit_trn_files": None,
    "limit_val_files": None,
    "limit_tst_files": None,
    "binary_labels": True,
    "lr": 3e-4,
    "min_lr": 1e-6,
    "lr_scheduler": "cosine",
    "weight_decay": 0.0,
    "betas": [0.9, 0.999],
    "loss.ce_labels": 0.0,
    "loss.label_smoothing": 0.0,
    "loss.bce_labels": 0.0,
    "loss.uniformity": 0.0,
    "loss.alignment_labels": 0.0,
    "max_epochs": 1,
    "batch_size": 512,
    "mini_batch_size": 512,
    "num_workers": 12,
    "devices": "auto",
    "precision": "bf16-mixed",
    "fast_dev_run": False,
    "overfit_batches": 0.0,
    "limit_train_batches": None,
    "limit_test_batches": None,
    "limit_val_batches": None,
    "deterministic": None,
    "detect_anomaly": False,
    "checkpoint_for_testing": "best_mAP",
    "wandb": False,
    "wandb_tags": [],
    "make_binary_before_video_aggregation": True,
}
"""Names and defaults of the first paper's code; dots part what is nested."""

GEND: Mapping[str, Any] = {
    "peft_v2": None,
    "backbone_args": None,
    "num_sources": 5,
    "inference_strategy": "softmax",
    "remove_if_run_exists": False,
    "custom_preprocessing": None,
    "augmentations": "default",
    "test_augmentations": None,
    "load_pairs": False,
    "warmup_epochs": 0,
    "num_epochs_in_cycle": 1,
    "optimizer": "AdamW",
    "early_stopping_patience": -1,
    "checkpoint_name": "best_mAP",
    "monitor_metric": "val/mAP_video",
    "monitor_metric_mode": "max",
    "wandb_group": None,
    "reduce_video_predictions": "mean",
}
"""What GenD's code added. A file with one of these is its."""

NORMS = {
    frozenset(("pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm")),
    frozenset(("pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm", "layernorm")),
    frozenset(("norm_pre", "norm1", "norm2", "norm")),
    frozenset(("norm1", "norm2", "norm")),
}
"""Lists of layers that are all norms of a tower."""

_DROPPED = ("fast_dev_run", "overfit_batches", "limit_train_batches", "limit_test_batches", "detect_anomaly")
_SAID = ("proj_feat_dim", "normalize_features", "checkpoint", "load_pairs", "custom_preprocessing", "backbone_args")


def config(source: Path, *, out: Path) -> dict[str, Any]:
    """Write a configuration of ours from the settings of a published run.

    Args:
        source: the authors' `hparams.yaml`.
        out: the file to write.
    """
    stated, notices, tests = translate(source)
    text = f"# From {source.name}.\n" + yaml.safe_dump(stated, sort_keys=False)
    write_text(out, text)
    lines = [
        f"config  {out}",
        *(f"note    {notice}" for notice in notices),
        f"next    suite deepfake train --config {shlex.quote(str(out))}",
    ]
    lines += [f"then    suite deepfake evaluate {shlex.join(tests)} --adapter ADAPTER"] if tests else []
    return {"config": str(out), "experiment": stated, "notices": notices, "message": "\n".join(lines)}


def translate(source: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """Our configuration for a published one, what has no counterpart, and the data sets of its test.

    Raises:
        InputError: the file cannot be read, a key in it is unknown, or settings contradict each other.
    """
    given = _flat(_mapping(source))
    check_names((name for name in given if not name.startswith(("peft_v2.", "augmentations."))), [*PUBLISHED, *GEND],
                str(source))  # fmt: skip
    is_gend = any(name.partition(".")[0] in GEND for name in given)
    known = {**PUBLISHED, **(GEND if is_gend else {}), **given}
    _check(known, source)
    notices = [
        f"{name}: {known[name]!r} has no counterpart and is left out"
        for name in (*_DROPPED, *_SAID)
        if known.get(name) not in (None, False, 0, {**PUBLISHED, **GEND}[name])
    ]
    stated = {
        "domain": "deepfake",
        "base": _base(str(known["backbone"])),
        "seed": known["seed"],
        "recipe": _recipe(known, source),
        "data": _data(known, source, is_gend),
        "trainer": _trainer(known, source),
    }
    if known.get("reduce_video_predictions") == "median":
        notices.append("reduce_video_predictions: median; give --reduce median to evaluate")
    return stated, notices, _tests(known["tst_files"])


def _check(known: Mapping[str, Any], source: Path) -> None:
    if known["num_classes"] != 2 or known["binary_labels"] is not True:
        raise InputError(f"{source}: num_classes {known['num_classes']} with other than binary labels; there are two")
    if not any(known[f"loss.{name}"] for name in ("ce_labels", "uniformity", "alignment_labels")):
        raise InputError(f"{source}: all weights of loss are 0, so that nothing would be learned; set loss.ce_labels")
    if known["loss.bce_labels"]:
        raise InputError(f"{source}: loss.bce_labels is used by nothing, in the released code too; remove it")
    if list(known["betas"]) != [0.9, 0.999]:
        raise InputError(f"{source}: betas {known['betas']}; AdamW's are 0.9 and 0.999 here")
    if known["batch_size"] % known["mini_batch_size"]:
        raise InputError(f"{source}: batch_size {known['batch_size']} is no multiple of mini_batch_size")


def _base(backbone: str) -> str:
    """The reference of a backbone by the authors' name of it: a hub id, or one of timm's."""
    if backbone.startswith("vit_pe_core"):
        return f"hf:timm/{backbone}.fb"
    return f"hf:{backbone if '/' in backbone else f'openai/{backbone}'}"


def _recipe(known: Mapping[str, Any], source: Path) -> dict[str, Any]:
    loss = {name: known[f"loss.{name}"] for name in ("ce_labels", "uniformity", "alignment_labels", "label_smoothing")}
    cyclic = known["lr_scheduler"] == "cyclic"
    return {
        "adapter": _adapter(known, source),
        "head": known["head"],
        "loss": loss,
        "slerp": known["slerp_feature_augmentation"],
        "slerp_range": list(known["slerp_feature_augmentation_range"]),
        "min_lr": known["min_lr"] if known["lr_scheduler"] else 0.0,
        "cycle": max(1, round(known["num_epochs_in_cycle"])) if cyclic else None,
    }


def _adapter(known: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """What is attached: the released code takes LoRA where both are on, without a word."""
    second = {name.removeprefix("peft_v2.lora."): value for name, value in known.items() if "peft_v2.lora." in name}
    lora = bool(second) or (known["peft.enabled"] and known["peft.lora.enabled"])
    norms = known["peft.enabled"] and known["peft.ln_tuning.enabled"]
    unfrozen = frozenset(known["unfreeze_layers"])
    if lora and (norms or unfrozen):
        raise InputError(f"{source}: LoRA beside tuned layers, of which the released code trains LoRA; turn one off")
    if lora:
        names = ("target_modules", "rank", "alpha", "dropout", "bias", "use_rslora", "use_dora")
        check_names(second, names, f"{source}: peft_v2.lora")
        own = {name: second.get(name, 0.05 if second and name == "dropout" else known[f"peft.lora.{name}"])
               for name in names}  # fmt: skip
        return {
            "method": "lora",
            "targets": own["target_modules"],
            "r": own["rank"],
            "lora_alpha": own["alpha"],
            "lora_dropout": own["dropout"],
            "bias": own["bias"],
            "use_rslora": own["use_rslora"],
            "use_dora": own["use_dora"],
        }
    if norms:
        unfrozen |= frozenset(known["peft.ln_tuning.target_modules"])
    if not known["freeze_feature_extractor"]:
        return {"preset": "full"}
    if not unfrozen:
        return {"preset": "linear"}
    if unfrozen in NORMS:
        return {"preset": "clip-ln"}
    # By parts of names, as the released code unfreezes.
    return {"method": "parameters", "parameters": [f"vision_model.*{part}*" for part in sorted(unfrozen)]}


def _data(known: Mapping[str, Any], source: Path, is_gend: bool) -> dict[str, Any]:
    augment = "gend" if is_gend else "published"
    if known.get("augmentations", "default") is None:
        augment = "none"
    if custom := [name for name in known if name.startswith("augmentations.")]:
        raise InputError(f"{source}: {custom[0]}: single augmentations are not set here; choose data.augment")
    return {
        "train": known["trn_files"] or "faces:train",
        "val": known["val_files"] or None,
        "batch_size": known["mini_batch_size"],
        "augment": augment,
        "alignment": "gend" if is_gend else "deepfakebench",
        "limit_train": known["limit_trn_files"],
        "limit_val": known["limit_val_files"],
        "num_workers": known["num_workers"],
    }


def _trainer(known: Mapping[str, Any], source: Path) -> dict[str, Any]:
    devices = known["devices"]
    scheduler = "cosine" if known["lr_scheduler"] else "constant"
    patience = known.get("early_stopping_patience", -1)
    monitor = str(known.get("monitor_metric", "val/mAP_video")).replace("mAP", "map").replace("/acc_", "/accuracy_")
    optimizer = str(known.get("optimizer", "AdamW")).lower()
    check_names([optimizer], ("adamw", "sgd"), f"{source}: optimizer")
    precision = str(known["precision"])
    return {
        "max_epochs": known["max_epochs"],
        "lr": known["lr"],
        "weight_decay": known["weight_decay"],
        "optimizer": optimizer,
        "scheduler": scheduler,
        "gradient_clip_val": None,
        "accumulate_grad_batches": known["batch_size"] // known["mini_batch_size"],
        "precision": f"{precision}-true" if precision.isdecimal() else precision,
        "devices": len(devices) if isinstance(devices, list) else devices if isinstance(devices, int) else 1,
        "monitor": monitor if known["val_files"] else None,
        "patience": patience if patience > 0 and known["val_files"] else None,
        "limit_val_batches": known["limit_val_batches"],
        "deterministic": "auto" if known["deterministic"] is None else known["deterministic"],
    }


def _tests(files: Any) -> list[str]:
    """Words for `evaluate`."""
    if isinstance(files, Mapping):
        return [f"{name}={','.join(own)}" for name, own in files.items()]
    return [",".join(files)] if files else []


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by names with dots; lists of files by name stay whole."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        whole = name.endswith("_files") or not isinstance(value, Mapping)
        found |= {name: value} if whole else {f"{name}.{inner}": v for inner, v in _flat(value).items()}
    return found


def _mapping(source: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(source, encoding=None))
    except FileNotFoundError:
        raise InputError(f"{source}: no such file; give the authors' hparams.yaml") from None
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{source}: {' '.join(str(error).split())[:200]}; give the authors' hparams.yaml") from error
    if not isinstance(content, dict):
        raise InputError(f"{source}: no settings in it; give the authors' hparams.yaml")
    return content
