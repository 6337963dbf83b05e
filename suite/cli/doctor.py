"""`suite doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import ctypes.util
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

DISTRIBUTION = "peft-suite"

_SHOWN = ("torch", "lightning", "transformers", "peft", "diffusers", "timm", "safetensors", "huggingface_hub")

# Open3D loads these at import; no wheel brings them along.
_LIBRARIES = {"usb-1.0": "libusb-1.0-0", "GL": "libgl1", "gomp": "libgomp1", "X11": "libx11-6"}


def doctor() -> dict[str, Any]:
    """Show versions, devices, caches, system libraries and what each extra lacks."""
    from suite import __version__
    from suite.domain import discover

    versions = {"suite": __version__, "python": platform.python_version(), **{name: _version(name) for name in _SHOWN}}
    facts: dict[str, Any] = {
        "versions": versions,
        "platform": f"{platform.platform()}, Python in {sys.prefix}",
        "devices": _devices(),
        "caches": _caches(),
        "libraries": {package: _has_library(name) for name, package in _LIBRARIES.items()},
        "extras": {extra: lacking(extra) for extra in extras()},
        "domains": {name: domain.extra for name, domain in discover().items()},
    }
    advice = _advice(facts)
    return facts | {"advice": advice, "message": _page(facts, advice)}


def extras() -> list[str]:
    """The extras of the installed distribution; none when it runs from a bare folder."""
    try:
        found = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []
    return sorted(extra.replace("-", "_") for extra in found if extra not in ("all", "dev"))


def lacking(extra: str) -> list[str]:
    """The requirements of `extra` that are not installed, or in a version that does not fit."""
    name = extra.replace("_", "-")  # as the metadata spell it
    return [
        str(requirement) for requirement in _requirements() if name in _extras_of(requirement) and _lacks(requirement)
    ]


def _requirements() -> list[Any]:
    from packaging.requirements import Requirement

    try:
        return [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return []


def _extras_of(requirement: Any) -> list[str]:
    """The extras in the marker of a requirement: `extra == "music"`."""
    return re.findall(r"extra == ['\"]([\w.-]+)['\"]", str(requirement.marker or ""))


def _lacks(requirement: Any) -> bool:
    found = _version(requirement.name)
    return found is None or not requirement.specifier.contains(found, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    import os

    import torch

    devices: list[dict[str, Any]] = [{"name": "cpu", "cores": os.cpu_count(), "threads": torch.get_num_threads()}]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = round(facts.total_memory / 2**30, 1)
        devices.append({"name": facts.name, "memory_gib": memory, "bf16": torch.cuda.is_bf16_supported()})
    return devices


def _caches() -> dict[str, dict[str, Any]]:
    from suite.hub import paths

    caches = {"suite": paths.cache(), "hub": paths.hub_cache()}
    return {
        name: {"folder": folder, "mib": _mib(folder), "free_gib": _free_gib(folder)} for name, folder in caches.items()
    }


def _mib(folder: Path) -> float:
    # The hub's cache links its snapshots to its blobs; a link is not counted again.
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 2**20, 1)


def _free_gib(folder: Path) -> float:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return round(shutil.disk_usage(there).free / 2**30, 1)


def _has_library(name: str) -> bool:
    return ctypes.util.find_library(name) is not None


def _advice(facts: dict[str, Any]) -> list[str]:
    advice = []
    absent = [package for package, there in facts["libraries"].items() if not there]
    if absent:
        advice.append(f"point clouds need system libraries: sudo apt-get install {' '.join(absent)}")
    for name, extra in facts["domains"].items():
        if facts["extras"].get(extra):
            advice.append(f"{name} needs more packages: pip install '{DISTRIBUTION}[{extra}]'")
    return advice


def _page(facts: dict[str, Any], advice: list[str]) -> str:
    lines = [facts["platform"], "", "versions"]
    lines += [f"  {name:<16}  {found or 'not installed'}" for name, found in facts["versions"].items()]
    lines += ["", "devices"]
    lines += ["  " + ", ".join(f"{key} {value}" for key, value in device.items()) for device in facts["devices"]]
    lines += ["", "caches"]
    for name, cache in facts["caches"].items():
        lines.append(f"  {name:<16}  {cache['folder']} ({cache['mib']} MiB, {cache['free_gib']} GiB free)")
    lines += ["", "system libraries"]
    lines += [f"  {name:<16}  {'there' if there else 'missing'}" for name, there in facts["libraries"].items()]
    lines += ["", "extras"]
    lines += [
        f"  {extra:<22}  {('lacks ' + ', '.join(_names(lacks))) if lacks else 'complete'}"
        for extra, lacks in facts["extras"].items()
    ]
    return "\n".join([*lines, "", *(advice or ["every domain has what it needs"])])


def _names(requirements: list[str]) -> list[str]:
    return [re.split(r"[\s;<>=!~\[]", requirement)[0] for requirement in requirements]
