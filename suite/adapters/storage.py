"""Adapters on disk: a plain peft folder for one method, a bundle of such folders for several, and `suite.json`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import suite
from suite.adapters.attach import attach_configs
from suite.adapters.detach import detach
from suite.adapters.fingerprint import identify
from suite.adapters.foreign import check_settings, name_targets, tame
from suite.adapters.handle import ATTRIBUTE, Attachment, Handle, Member, adapter_layers, handle_of
from suite.adapters.ranks import resize, trimmed
from suite.adapters.registry import method_info, method_name
from suite.adapters.state import carrier_of, load_saved_state, saved_state, saying
from suite.adapters.switching import activate
from suite.adapters.ties import tie
from suite.errors import InputError, one_line
from suite.files import ADAPTER, atomic_folder
from suite.manifest import CONFIG, FORMAT, MANIFEST, peft_settings, read_manifest

WEIGHTS = "adapter_model.safetensors"


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    base: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write one adapter of the model as a folder, all or nothing.

    Args:
        model: a model with adapters.
        folder: where to; an adapter that is there is replaced.
        name: which adapter; the active one by default.
        base: reference of the base model (`tiny`, `hf:org/name@revision`), never a path of this machine.
        extra: what the domain needs at prediction; goes into `suite.json` under `domain`.

    Raises:
        InputError: no such adapter, it is merged, it holds NaN or Inf, `base` is a path of this machine, or `folder`
            holds files that are no part of an adapter.
    """
    handle = handle_of(model)
    attachment = handle.attachment(name)
    _check_saving(model, attachment, base)
    single = len(attachment.members) == 1
    entries = []
    with atomic_folder(folder, ADAPTER) as target:
        for member in attachment.members:
            part = "." if single else member.adapter.removeprefix(f"{attachment.name}-")
            entries.append({"folder": part, "method": member.method, "name": member.adapter})
            _write_member(model, member, target / part, base)
        manifest = {
            "format": FORMAT,
            "suite": suite.__version__,
            "name": attachment.name,
            "adapters": entries,
            "tie_groups": attachment.tie_groups,
            "base": {"reference": base, **handle.base.record()},
            "domain": dict(extra or {}),
        }
        (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (target / "README.md").write_text(_card(attachment, base), encoding="utf-8")
    return Path(folder)


def _check_saving(model: nn.Module, attachment: Attachment, base: str | None) -> None:
    names = {member.adapter for member in attachment.members}
    for layer_name, layer in adapter_layers(model):
        if names & set(layer.merged_adapters):
            raise InputError(f"adapter {attachment.name!r} is merged (in {layer_name}): call unmerge before saving")
    if base is not None and (Path(base).is_absolute() or base.startswith(("~", "."))):
        raise InputError(f"base {base!r} is a path of this machine: give a reference such as tiny or hf:org/name")


def _write_member(model: nn.Module, member: Member, folder: Path, base: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: _storable(value) for key, value in saved_state(model, member).items()}
    config = carrier_of(model, member).peft_config[member.adapter]
    told: dict[str, Any] = {"base_model_name_or_path": _hub_name(base), "inference_mode": True}
    if member.method == "adalora" and config.rank_pattern is not None:  # its schedule is through
        state, told["rank_pattern"] = trimmed(state, config)
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"adapter {member.adapter!r} holds NaN or Inf in {key}: it is not saved")
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    with saying(config, **told):
        config.save_pretrained(str(folder))


def _storable(tensor: Tensor) -> Tensor:
    """An own, contiguous CPU copy: safetensors takes no shared storage (tied adapters share it)."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _hub_name(base: str | None) -> str | None:
    """What plain peft can resolve: a hub id. Our other references mean nothing to it."""
    found = re.fullmatch(r"hf:([^@:]+)(@[^:]*)?(:.*)?", base or "")
    return found.group(1) if found else None


def _card(attachment: Attachment, base: str | None) -> str:
    ours = [member.method for member in attachment.members if method_info(member.method).source == "suite"]
    needed = "`import suite.adapters` (it registers the method with peft)" if ours else "nothing but `peft`"
    return (
        "---\nlibrary_name: peft\ntags:\n- peft-suite\n---\n\n"
        f"# Adapter `{attachment.name}`\n\n"
        f"Methods, in order: {', '.join(member.method for member in attachment.members)}.\n"
        f"Base model: {base or 'not recorded'}.\n\n"
        f"Loading it with peft needs {needed}.\n\n"
        '```python\nfrom suite import adapters\n\nmodel = adapters.load(base_model, "this-folder")\n```\n'
    )


def load(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    name: str = "default",
    trainable: bool = False,
    strict_base: bool | None = None,
) -> nn.Module:
    """Attach the adapter that a folder holds and make it the active one.

    Args:
        model: the base model the adapter was trained on, possibly with other adapters already attached.
        folder: what `save` wrote, or any plain peft folder.
        name: what to call it on this model.
        trainable: whether it trains on.
        strict_base: refuse other weights of the same shapes than it was trained on (a fine-tune of its base), which
            are otherwise accepted with a warning; None: as `strict_bases` says.

    Returns:
        The model to use from here on.

    Raises:
        InputError: no adapter there, another base than it was trained on, unknown method, or tensors that do not
            fit. The model is unchanged then.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_base(model, manifest, folder, strict_base)
    parts = member_parts(folder, manifest)
    configs = [read_config(part) for part in parts]
    for config, part in zip(configs, parts, strict=True):
        tame(config, model, str(part / CONFIG))
    states = [read_weights(part) for part in parts]
    for config, state in zip(configs, states, strict=True):
        name_targets(config, state, model)
    planned = [(method_name(config.peft_type), config) for config in configs]
    labels = [None if entry["folder"] == "." else entry["folder"] for entry in manifest["adapters"]]
    previous = list(handle_of(model).active) if getattr(model, ATTRIBUTE, None) else []
    result = attach_configs(
        model, planned, name=name, adapter_names=labels, tie_groups=manifest["tie_groups"], trainable=trainable
    )
    attachment = handle_of(result).attachment(name)
    try:
        for member, state, part in zip(attachment.members, states, parts, strict=True):
            if member.method == "adalora":
                resize(result, member.adapter, carrier_of(result, member).peft_config[member.adapter], str(part))
            load_saved_state(result, member, state, str(part))
    except Exception:
        detach(result, name)
        if previous:
            activate(result, *previous)
        raise
    tie(result, attachment)
    return result


def member_parts(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """The peft folders of an adapter, in attach order."""
    return [folder / entry["folder"] for entry in manifest["adapters"]]


def read_config(folder: Path) -> PeftConfig:
    """The peft config in a folder.

    Raises:
        InputError: there is none, it is damaged, or its method is unknown.
    """
    settings = peft_settings(folder)
    peft_type = settings.get("peft_type")
    if not isinstance(peft_type, str) or peft_type not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise InputError(
            f"{folder / CONFIG}: method {peft_type!r} is unknown to peft and to suite.adapters: "
            "import the package that registers it, or update"
        )
    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[peft_type])
    check_settings(settings, fields, folder / CONFIG)
    try:
        return PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{folder / CONFIG}: {one_line(error)}") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors in a folder. A pickle is read only if it holds nothing but tensors.

    Raises:
        InputError: there are none, or the file is damaged or holds more.
    """
    file = folder / WEIGHTS
    pickled = folder / "adapter_model.bin"
    if file.is_file():
        try:
            return _checked(load_file(file), file)
        except SafetensorError as error:
            raise InputError(f"{file}: damaged safetensors file ({one_line(error)})") from error
    if not pickled.is_file():
        raise InputError(f"{folder}: no {WEIGHTS} there")
    try:
        state = torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{pickled}: refused, it holds more than tensors ({one_line(error)[:120]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{pickled}: refused, it holds more than tensors by name")
    return _checked(state, pickled)


def _checked(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise InputError(f"{file}: {key} holds NaN or Inf")
    return state


_STRICT: ContextVar[bool] = ContextVar("strict_base", default=False)


@contextmanager
def strict_bases(on: bool = True) -> Iterator[None]:
    """Inside the block adapters are loaded onto no other weights than they were trained on, unless told otherwise."""
    token = _STRICT.set(on)
    try:
        yield
    finally:
        _STRICT.reset(token)


def check_base(model: nn.Module, manifest: Mapping[str, Any], folder: Path, strict: bool | None = None) -> None:
    """Compare a base with the one that the adapter was trained on.

    The same weights in another dtype, or with other settings of the run, are the same base. Other weights of the same
    shapes, and a base of which nothing is known, are warned of.

    Raises:
        InputError: another architecture or other shapes; with `strict`, other weights too.
    """
    recorded = manifest["base"]
    handle: Handle | None = getattr(model, ATTRIBUTE, None)
    found = handle.base if handle else identify(model)
    verdict = found.compared(recorded)
    if verdict == "same":
        return
    if verdict == "unknown":
        warnings.warn(f"{folder}: the base model cannot be checked, no fingerprint is known", stacklevel=3)
        return
    reference = recorded.get("reference") or recorded.get("class") or "another model"
    own = getattr(model, "name_or_path", "") or found.kind
    both = (
        f"{folder} was trained on {reference} (fingerprint {_short(recorded.get('fingerprint'))}), "
        f"this base is {own} ({_short(found.fingerprint)})"
    )
    if verdict == "other architecture":
        kinds = f" ({recorded.get('class')}, {found.kind})" if recorded.get("class") != found.kind else ""
        raise InputError(f"{both}: another architecture or other shapes{kinds}: load that base")
    if _STRICT.get() if strict is None else strict:
        raise InputError(f"{both}: other weights of the same shapes, and the check is strict: load that base")
    warnings.warn(f"{both}: other weights of the same shapes, so that its results may differ", stacklevel=3)


def _short(digest: Any) -> str:
    return str(digest)[:12] if digest else "not known"
