"""AutoRE's released adapters <-> ours.

Both are peft folders with the same tensor names; they differ in what stands round them: `checkpoint-N` folders,
optimizer files, pickled weights and peft 0.10's configuration there; `suite.json` with protocol, template and schema
here.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from domains.relation_extraction.model.bundle import check_part, find_bundle, weights_file
from domains.relation_extraction.model.paradigms import find as find_protocol
from suite.errors import InputError
from suite.hub import weights
from suite.manifest import CONFIG, MANIFEST

# What LoraConfig of peft 0.10 (the release that AutoRE pins) takes; it refuses any other field.
_PEFT_0_10 = {
    *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    *("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "fan_in_fan_out", "bias"),
    *("use_rslora", "use_dora", "init_lora_weights", "loftq_config", "rank_pattern", "alpha_pattern"),
    *("layers_to_transform", "layers_pattern", "layer_replication", "megatron_config", "megatron_core"),
}


def convert(
    source: Path,
    out: Path,
    *,
    checkpoint: int | None = None,
    protocol: str | None = None,
    protocol_templates: Path | None = None,
    template: str | None = None,
    base: str | None = None,
) -> None:
    """Turn a released bundle into one of ours.

    Args:
        source: `{relation,subject,fact}/[checkpoint-N/]` or a single adapter; optimizer files are left out.
        out: an existing, empty folder.
        checkpoint: the N to take; the highest by default.
        protocol: what the adapters were trained with; the bundle's own, or the official one of the paper's best system.
        protocol_templates: JSON file with the wording of a protocol that is not shipped; kept in the bundle.
        template: chat template, where the name of the base does not tell it.
        base: reference of the base, e.g. `hf:mistralai/Mistral-7B-Instruct-v0.2`; the one in the files by default.

    Raises:
        InputError: a step is missing, weights and configuration disagree, or the template cannot be told.
    """
    bundle = find_bundle(source, checkpoint)
    known = bundle.manifest
    stated = replace(
        known,
        protocol=protocol or known.protocol,
        template=template or known.template,
        layout=bundle.layout,
    )
    if protocol_templates is not None:
        stated = replace(stated, templates=find_protocol(stated.protocol, protocol_templates).templates)
    if stated.template is None:
        raise InputError(f"{source}: its base {bundle.base!r} does not tell the chat template; give --template")
    entries = []
    for name, part in bundle.parts.items():
        folder = "." if bundle.layout == "single" else name
        _write_part(part, out / folder, config=check_part(part), binary=False)
        entries.append({"folder": folder, "method": "lora", "name": name})
    named = {"reference": base or _reference(bundle.base), "fingerprint": None, "class": None}
    manifest = {"format": 1, "name": "autore", "adapters": entries, "stacked": False, "tie_groups": [], "base": named}
    text = json.dumps(manifest | {"domain": stated.to_dict()}, indent=2, ensure_ascii=False)
    (out / MANIFEST).write_text(text + "\n", encoding="utf-8")


def export(source: Path, out: Path, *, checkpoint: int = 0, binary: bool = False) -> None:
    """Write a bundle of ours the way AutoRE's code reads it: `{step}/checkpoint-N/`, a configuration of peft 0.10.

    Args:
        checkpoint: the N; AutoRE's scripts take it as their step argument.
        binary: `adapter_model.bin` instead of safetensors.

    Raises:
        InputError: an adapter is not a LoRA that peft 0.10 knows.
    """
    bundle = find_bundle(source)
    for name, part in bundle.parts.items():
        config = check_part(part)
        target = out / name if bundle.layout == "three" else out
        kept = {key: value for key, value in config.items() if key in _PEFT_0_10}
        _write_part(part, target / f"checkpoint-{checkpoint}", config=kept, binary=binary)


def _write_part(part: Path, folder: Path, *, config: dict[str, Any], binary: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = weights.read(weights_file(part))
    if binary:
        torch.save(state, folder / "adapter_model.bin")
    else:
        weights.write(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _reference(name: str | None) -> str | None:
    """A hub id as the hub's grammar writes it."""
    return f"hf:{name}" if name and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else name
