"""Where the adapters of a folder are: one adapter for all steps, or one each for relation, subject and fact.

Layouts, ours and AutoRE's alike: `<root>/{relation,subject,fact}/[checkpoint-N/]adapter_config.json`, or one adapter in
`<root>/[checkpoint-N/]`. What the adapters were trained with (protocol, template, schema) is in `<root>/suite.json`;
where there is none they are AutoRE's. Imports no torch before an adapter is loaded.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.model.encoding import OWN
from domains.relation_extraction.model.manifest import Manifest
from domains.relation_extraction.model.protocol import Layout
from suite.errors import InputError
from suite.files import read_json
from suite.hub import weights
from suite.manifest import CONFIG, MANIFEST, read_manifest

if TYPE_CHECKING:
    from torch import nn

DOMAIN = "relation_extraction"
OFFICIAL_PROTOCOL = "autore-official/D_R_H_F_desc"

FAMILIES: Mapping[str, tuple[str, str]] = {
    "mistral": ("mistral", "mistral"),
    "vicuna": ("vicuna", "llama"),
    "chatglm": ("chatglm3", "chatglm"),
}
"""What the name of an official base holds: the chat template that goes with it, and transformers' model type."""

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_LORA_A = re.compile(r"\.lora_A\.weight$")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Bundle:
    """The adapters of a folder.

    Attributes:
        parts: the folder of each adapter by the adapter's name: the three steps, or `joint`.
        base: reference or hub id of the base; None where the bundle does not say.
        settings: what the adapters were trained with: `protocol`, `template`, `schema`, `pretokenize`.
        official: whether the weights are AutoRE's own, which know no fingerprint of their base.
        stated: whether the bundle itself says its settings; otherwise they are those of the paper's best system.
    """

    root: Path
    layout: Layout
    parts: Mapping[str, Path]
    base: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    official: bool = False
    stated: bool = True

    @property
    def manifest(self) -> Manifest:
        """The settings, typed."""
        return Manifest.from_dict(self.settings)

    def digests(self) -> dict[str, str]:
        """sha256 of each adapter's weights."""
        found = {}
        for name, part in self.parts.items():
            digest = hashlib.sha256()
            for file in sorted(part.glob("adapter_model.*")):
                digest.update(file.read_bytes())
            found[name] = digest.hexdigest()
        return found


def find_bundle(root: str | Path, checkpoint: int | None = None) -> Bundle:
    """Describe the adapters below `root`; of several checkpoints the highest.

    Args:
        checkpoint: take this `checkpoint-N` instead.

    Raises:
        InputError: there are none, or a step's adapter is missing; the line says where it was looked for.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a folder that holds adapters")
    in_steps = any((root / step).is_dir() for step in STEPS)
    if not in_steps and _holds_adapter(single := _chosen(root, checkpoint)):
        return _described(root, "single", {"joint": single})
    if not in_steps:
        raise InputError(
            f"{root}: no adapter there; expected {CONFIG}, or the folders {', '.join(STEPS)} with one each"
        )
    parts: dict[str, Path] = {step: _chosen(root / step, checkpoint) for step in STEPS}
    for step, part in parts.items():
        if not _holds_adapter(part):
            raise InputError(_missing(root, step, part))
    return _described(root, "three", parts)


NO_ADAPTER = "none"


def no_bundle() -> Bundle:
    """What stands for the adapters of a bare base: any chat model, asked in its own template by one prompt."""
    settings = {"protocol": "suite-v1/zero-shot", "template": OWN, "schema": "redocred", "pretokenize": "none"}
    return Bundle(Path(), "single", {}, settings=settings, stated=False)


def read_config(folder: Path) -> dict[str, Any]:
    """The `adapter_config.json` of a peft folder; empty for a folder of several methods, which has none of its own.

    Raises:
        InputError: it is not JSON.
    """
    return read_json(folder / CONFIG, "restore the file") if (folder / CONFIG).is_file() else {}


def check_part(folder: Path) -> dict[str, Any]:
    """Return the configuration of an adapter, having checked that the ranks of a LoRA's weights are those it states.

    Raises:
        InputError: no weights there, or a rank differs.
    """
    config = read_config(folder)
    if config.get("peft_type") != "LORA":
        return config
    ranks = {key: shape[0] for key, shape in _shapes(weights_file(folder)).items() if _LORA_A.search(key)}
    patterns = config.get("rank_pattern") or {}
    for key, rank in ranks.items():
        wanted = next(
            (value for name, value in patterns.items() if re.search(rf"(^|\.){name}\.lora_A", key)), config["r"]
        )
        if rank != wanted:
            raise InputError(f"{folder}: {CONFIG} says r={wanted}, but {key} has rank {rank}; correct r there")
    return config


def weights_file(folder: Path) -> Path:
    """The file with the tensors of a peft folder.

    Raises:
        InputError: there is none.
    """
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: none of {', '.join(_WEIGHTS)} there; copy the adapter's weights too")


def load_bundle(model: nn.Module, bundle: Bundle) -> nn.Module:
    """Put the adapters of `bundle` side by side on `model`, frozen, named as the steps that they answer.

    Raises:
        InputError: an adapter belongs to another base, or its rank differs from what its configuration says.
    """
    from suite import adapters

    for name, part in bundle.parts.items():
        config = check_part(part)
        _check_family(config.get("base_model_name_or_path"), model, part)
        with warnings.catch_warnings():
            # AutoRE's adapters carry no fingerprint; their family and shapes are checked instead.
            warnings.filterwarnings("ignore" if bundle.official else "default", message=".*cannot be checked.*")
            model = adapters.load(model, part, name=name)
    return model.eval()


def _holds_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / MANIFEST).is_file()


def _chosen(folder: Path, checkpoint: int | None) -> Path:
    """`folder` itself where it holds an adapter, else the asked or the highest of its checkpoints."""
    if checkpoint is not None:
        return folder / f"checkpoint-{checkpoint}"
    found = {int(match[1]): path for path in _checkpoints(folder) if (match := _CHECKPOINT.fullmatch(path.name))}
    usable = {number: path for number, path in found.items() if _holds_adapter(path)}
    return folder if _holds_adapter(folder) or not usable else usable[max(usable)]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*")) if folder.is_dir() else []


def _missing(root: Path, step: str, tried: Path) -> str:
    siblings = ", ".join(path.name for path in _checkpoints(root / step)) or "no checkpoint-* folder"
    return (
        f"{root}: the bundle lacks the adapter of step `{step}`: no {CONFIG} in {tried} (beside it: {siblings}); "
        "train that step, or give a bundle of all three"
    )


def _described(root: Path, layout: Layout, parts: Mapping[str, Path]) -> Bundle:
    stated = read_manifest(root) if (root / MANIFEST).is_file() else {"domain": {}, "base": {}}
    settings, base = stated["domain"], stated["base"].get("reference")
    if layout == "single" and settings.get("layout") == "three":
        raise InputError(
            f"{root}: this is one of three adapters, which answers one step alone; give the folder above, {root.parent}"
        )
    if settings.get("protocol"):
        Manifest.from_dict(settings, str(root / MANIFEST))  # refused now, not when it is first asked for
        known = stated["base"].get("fingerprint") is not None
        return Bundle(root, layout, parts, base, settings, official=not known and _is_official(settings["protocol"]))
    trained_on = {str(read_config(part).get("base_model_name_or_path") or "") for part in parts.values()} - {""}
    if len(trained_on) > 1:
        raise InputError(f"{root}: its adapters belong to several bases ({', '.join(sorted(trained_on))}); use one")
    name = next(iter(trained_on), None)
    template = next((template for key, (template, _) in FAMILIES.items() if key in (name or "").lower()), None)
    settings = {"protocol": OFFICIAL_PROTOCOL, "template": template, "schema": "redocred", "pretokenize": "docred"}
    return Bundle(root, layout, parts, base or name, settings, official=True, stated=False)


def _is_official(protocol: str) -> bool:
    return protocol.startswith("autore-official/")


def _check_family(trained_on: str | None, model: nn.Module, part: Path) -> None:
    kind = getattr(getattr(model, "config", None), "model_type", None)
    for key, (_, family) in FAMILIES.items():
        if key in (trained_on or "").lower() and kind != family:
            raise InputError(f"{part} was trained on {trained_on}, but the loaded base is a {kind}; load that base")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        return weights.shapes(file)
    return {key: tuple(tensor.shape) for key, tensor in weights.read(file).items()}
