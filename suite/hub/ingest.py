"""Make what was fetched ready to load: check it, unpack it, turn torch pickles into safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from suite.errors import InputError
from suite.files import atomic_folder, read_json
from suite.hub import archives, checksums, converters, formats, paths, weights
from suite.hub.index import Entry

_WEIGHTS = "adapter_model"
# A lone weights file is a whole adapter when it carries its configuration in its header.
CONFIG_KEY = "adapter_config"


def adapter(found: Path, name: str, entry: Entry | None = None) -> Path:
    """The peft folder or bundle in what was fetched as the reference `name`.

    Raises:
        InputError: there is none, or it is damaged; says what was found and what to do.
    """
    if entry and entry.format == formats.OFFICIAL:
        return _converted(found, entry)
    found = archives.unpacked(found)
    if found.is_file():
        return _lone_file(found, name)
    _check_plain(found, name)
    for folder in (found, found / "adapter"):  # a run folder keeps its adapter in adapter/
        if folder.is_dir() and formats.detect(folder) in (formats.PEFT, formats.BUNDLE):
            return _checked_adapter(folder, name)
    inside = sorted(child.name for child in found.iterdir() if not child.name.startswith("."))
    listed = ", ".join(inside[:8]) + (" …" if len(inside) > 8 else "") if inside else "nothing"
    parts = [path.parent.relative_to(found) for path in found.glob("*/adapter_config.json")]
    hint = f"write the folder of one: {', '.join(map(str, sorted(parts)))}" if parts else _CONVERT.format(name=name)
    raise InputError(
        f"{name} holds no adapter: neither adapter_config.json nor suite.json in {found}, only {listed}; {hint}"
    )


def base(found: Path, name: str) -> Path:
    """The folder of a base in what was fetched as the reference `name`.

    Raises:
        InputError: it is empty, a file that is no archive, or damaged.
    """
    found = archives.unpacked(found)
    if found.is_file():
        raise InputError(f"{name} is a file; a base is the folder that from_pretrained reads")
    _check_plain(found, name)
    if not checksums.files(found):
        raise InputError(f"{name} is empty: {found} holds no file; name the folder that from_pretrained reads")
    folder = _without_pickles(found, name)
    _check_headers(folder, name)
    return folder


_CONVERT = "files of another format are read by suite adapters convert {name} --domain DOMAIN --out FOLDER"


def _converted(found: Path, entry: Entry) -> Path:
    key = next(iter(entry.sha256.values()), "")[:16] or found.name
    folder = paths.cache() / "converted" / f"{entry.domain}-{entry.name}-{key}"
    if not folder.is_dir():
        converters.run(entry.converter, found, folder)
    return _checked_adapter(folder, entry.reference)


def _lone_file(file: Path, name: str) -> Path:
    """The adapter that one safetensors file is, laid out as a peft folder in the cache."""
    beside = file.parent
    if file.stem == _WEIGHTS and (beside / "adapter_config.json").is_file():
        return _checked_adapter(beside, name)
    detected = formats.detect(file)
    if detected != formats.SAFETENSORS:
        kind = "a torch file" if detected == formats.TORCH else "no weights file"
        raise InputError(f"{name} is {kind}, not an adapter; {_CONVERT.format(name=name)}")
    config = weights.metadata(file).get(CONFIG_KEY)
    if config is None:
        raise InputError(f"{name} holds weights without their adapter's configuration; {_CONVERT.format(name=name)}")
    return _cached(file, checksums.sha256(file), lambda folder: weights.unpack(file, folder, CONFIG_KEY, _WEIGHTS))


def _checked_adapter(folder: Path, name: str) -> Path:
    """An adapter whose configurations are JSON and whose weights are whole; pickled weights are converted."""
    for config in [*folder.rglob("adapter_config.json"), *folder.glob("suite.json")]:
        read_json(config, f"{name} is damaged: save or fetch it again")
    folder = _without_pickles(folder, name)
    parts = [config.parent for config in folder.rglob("adapter_config.json")]
    if not parts:
        raise InputError(f"{name} is a bundle without parts: no adapter_config.json below {folder}; save it again")
    for part in parts:
        if not (part / f"{_WEIGHTS}.safetensors").is_file():
            raise InputError(f"{name} lacks its weights: no {_WEIGHTS}.safetensors in {part}; save or fetch it again")
    _check_headers(folder, name)
    return folder


def _check_plain(folder: Path, name: str) -> None:
    """Reading a pipe waits for ever, and a device has no end."""
    for path in folder.rglob("*"):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{name} is refused: {path} is a pipe or a device; take it out")


def _check_headers(folder: Path, name: str) -> None:
    for path in folder.rglob("*.safetensors"):
        try:
            weights.metadata(path)
        except InputError as error:
            raise InputError(f"{name} is damaged: {error}") from error


def _without_pickles(folder: Path, name: str) -> Path:
    """The folder itself, or a copy in the cache whose torch files without a safetensors twin are converted.

    Raises:
        InputError: one holds more than tensors.
    """
    if not any(weights.needs_conversion(path) for path in folder.rglob("*.bin")):
        return folder
    try:
        return _cached(folder, checksums.fingerprint(folder), lambda copy: weights.copy_converted(folder, copy))
    except InputError as error:
        raise InputError(f"{name} has a pickle that cannot be made safetensors: {error}") from error


def _cached(source: Path, key: str, fill: Callable[[Path], None]) -> Path:
    folder = paths.cache() / "converted" / f"{source.name}-{key[:16]}"
    if not folder.is_dir():
        with atomic_folder(folder, own=True) as temporary:
            fill(temporary)
    return folder
