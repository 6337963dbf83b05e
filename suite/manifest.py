"""What an adapter's folder says about itself. Imports no torch, so that a wrong adapter is told before it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from suite.errors import InputError
from suite.files import read_json

MANIFEST = "suite.json"
CONFIG = "adapter_config.json"
FORMAT = 1

_BESIDE = re.compile(r"\.|[\w~-][\w.~-]*")
"""The folder of the manifest itself, or the name of one in it."""


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What an adapter's folder says about itself; a plain peft folder gives the same shape with what it knows.

    Raises:
        InputError: the folder holds no adapter, or its `suite.json` is damaged or from a newer format.
    """
    folder = Path(folder)
    file = folder / MANIFEST
    if not file.is_file():
        return _of_peft(peft_settings(folder))
    manifest = _read_json(file)
    if manifest.get("format") != FORMAT:
        raise InputError(f"{file}: format {manifest.get('format')!r}, this version reads {FORMAT}: update peft-suite")
    manifest = {"tie_groups": [], "base": {}, "domain": {}, **manifest}
    _check(manifest, file)
    return manifest


def _of_peft(config: dict[str, Any]) -> dict[str, Any]:
    """What a plain peft folder would say, by its config."""
    method = str(config.get("peft_type", "")).lower()
    return {
        "format": FORMAT,
        "name": "default",
        "adapters": [{"folder": ".", "method": method, "name": "default"}],
        "tie_groups": [],
        "base": {"reference": config.get("base_model_name_or_path"), "fingerprint": None, "class": None},
        "domain": {},
    }


def _check(manifest: dict[str, Any], file: Path) -> None:
    """Refuse what is of another kind than it should be, and folders that are not beside the file."""
    for key, kind, what in (("adapters", list, "a list"), ("base", dict, "an object"), ("domain", dict, "an object")):
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{file}: {key!r} is {manifest.get(key)!r}, not {what}")
    for key in ("reference", "fingerprint", "class"):
        if not isinstance(value := manifest["base"].get(key), str | None):
            raise InputError(f"{file}: 'base' has a {key} that is {value!r}, not a string")
    groups = manifest["tie_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise InputError(f"{file}: 'tie_groups' is {groups!r}, not a list of lists")
    for entry in manifest["adapters"] or [{}]:
        part = entry.get("folder") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or not isinstance(part, str) or not _BESIDE.fullmatch(part):
            raise InputError(f"{file}: adapter folder {part!r} is not the name of a folder beside it")


def peft_settings(folder: Path) -> dict[str, Any]:
    """The `adapter_config.json` of a peft folder.

    Raises:
        InputError: there is none, or it is not JSON.
    """
    return _read_json(folder / CONFIG)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file.parent}: no {file.name} there, this is no adapter folder")
    return read_json(file)
