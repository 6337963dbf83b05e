"""Read, rename and write weights: safetensors, and torch files without ever running what is in them."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError
from suite.files import atomic_file, read_json
from suite.hub import checksums, formats

if TYPE_CHECKING:
    from torch import Tensor

# Files that libraries load as weights; other torch files in a folder (optimiser states, arguments) are nobody's input.
_WEIGHTS = re.compile(r"(pytorch_model|adapter_model|diffusion_pytorch_model|model)(-\d+-of-\d+)?\.bin")
_INDEX = "pytorch_model.bin.index.json"
_LISTED = 12


def read(path: str | Path, section: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, on the CPU.

    Args:
        path: `.safetensors`, or a file that `torch.save` wrote (read with `weights_only=True`).
        section: for a torch file whose dictionary holds more than tensors, the key under which they are. Needed only
            when several keys hold tensors.

    Raises:
        InputError: the file is damaged, holds objects that only code could rebuild, or its tensors cannot be told.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        metadata(path)  # raises on damage
        from safetensors.torch import load_file

        return load_file(path)
    loaded = contents(path)
    if section is not None:
        if section not in loaded:
            raise InputError(f"{path} has no section {section!r}; it has {_some(loaded)}")
        return _tensors(loaded[section], f"{section} of {path}")
    if loaded and all(_is_tensor(value) for value in loaded.values()):
        return loaded
    nested = [key for key, value in loaded.items() if _holds_tensors(value)]
    if len(nested) != 1:
        raise InputError(f"{path} holds tensors under {_some(nested) or 'no key'} of {_some(loaded)}; name the section")
    return _tensors(loaded[nested[0]], f"{nested[0]} of {path}")


def contents(path: str | Path) -> dict[str, Any]:
    """Everything in a torch file's dictionary: tensors, numbers, texts and containers of these.

    Raises:
        InputError: the file is damaged, is no dictionary, or needs code to be rebuilt; nothing in it is run.
    """
    import torch

    path = Path(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {named[1]}" if named else "it is no file of plain tensors"
        raise InputError(
            f"{path} is refused: {what}, and only tensors and plain values are read; ask its authors for safetensors"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or _line(error)}); fetch it again") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a torch file, it is damaged or none; fetch it again") from error
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    return {str(key): value for key, value in loaded.items()}


def write(state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors as safetensors, all or nothing; tensors that share storage are written apart."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage().data_ptr()
        apart = tensor.detach().clone() if storage in seen else tensor.detach()
        plain[name] = apart.contiguous()
        seen.add(storage)
    with atomic_file(path) as temporary:
        save_file(plain, temporary, metadata={"format": "pt", **(metadata or {})})
    return Path(path)


def metadata(path: str | Path) -> dict[str, str]:
    """The texts in a safetensors file's header, which is checked against the file's length; imports no torch.

    Raises:
        InputError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no whole safetensors file ({_line(error)}); fetch or save it again") from error


def shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor in a safetensors file, from its header; imports no torch."""
    from safetensors import safe_open

    metadata(path)
    with safe_open(path, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 (no mapping)


def rename(
    state: Mapping[str, Tensor],
    rules: Sequence[tuple[str, str]],
    *,
    ignore: Iterable[str] = (),
    where: str = "the weights",
) -> dict[str, Tensor]:
    r"""Rename tensors by the first rule whose pattern matches their whole name.

    Args:
        state: the tensors.
        rules: (regular expression, template with `\1` or `\g<name>`) pairs.
        ignore: regular expressions of names to leave out.
        where: what the tensors are, for messages.

    Raises:
        InputError: no rule matches a name, or two names become the same; lists them.
    """
    patterns = [(re.compile(pattern), template) for pattern, template in rules]
    ignored = [re.compile(pattern) for pattern in ignore]
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unknown: list[str] = []
    for name, tensor in state.items():
        if any(pattern.fullmatch(name) for pattern in ignored):
            continue
        match = next(((found, template) for p, template in patterns if (found := p.fullmatch(name))), None)
        if match is None:
            unknown.append(name)
            continue
        new = match[0].expand(match[1])
        if new in origin:
            raise InputError(f"{where}: {origin[new]} and {name} both become {new}; the file mixes two layouts")
        renamed[new], origin[new] = tensor, name
    if unknown:
        raise InputError(
            f"{where}: {len(unknown)} unknown keys: {_some(unknown)}; this is not the layout expected here"
        )
    return renamed


def check_keys(found: Collection[str], expected: Collection[str], where: str = "the weights") -> None:
    """Compare names.

    Raises:
        InputError: some are missing or unknown; lists both.
    """
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    if missing or unknown:
        parts = [f"{len(missing)} missing keys: {_some(missing)}"] * bool(missing)
        parts += [f"{len(unknown)} unknown keys: {_some(unknown)}"] * bool(unknown)
        raise InputError(f"{where}: {'; '.join(parts)}")


def needs_conversion(path: Path) -> bool:
    """Whether this is a pickle that a library would load as weights, with no safetensors file in its place."""
    return bool(_WEIGHTS.fullmatch(path.name)) and not _twin(path).is_file()


def copy_converted(source: Path, target: Path) -> None:
    """Copy a folder with its pickled weights as safetensors under the names that libraries look for."""
    for relative in checksums.files(source):
        old, new = source / relative, target / relative
        new.parent.mkdir(parents=True, exist_ok=True)
        if needs_conversion(old):
            write(read(old), _twin(new))
        elif old.name == _INDEX:
            index = read_json(old)
            index["weight_map"] = {key: _twin(Path(shard)).name for key, shard in index["weight_map"].items()}
            (new.parent / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
        elif old.suffix not in formats.PICKLES:
            shutil.copy2(old, new)


def unpack(file: Path, folder: Path, key: str, stem: str) -> None:
    """Lay a weights file that carries its configuration under `key` of its header out as a peft folder."""
    try:
        config = json.loads(metadata(file)[key])
    except ValueError as error:
        raise InputError(f"{file} is damaged: its {key} is not JSON ({error})") from error
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shutil.copyfile(file, folder / f"{stem}.safetensors")


def _twin(path: Path) -> Path:
    stem = path.stem
    return path.with_name(f"{stem.removeprefix('pytorch_') if stem.startswith('pytorch_') else stem}.safetensors")


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _holds_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(_is_tensor(item) for item in value.values())


def _tensors(value: object, where: str) -> dict[str, Tensor]:
    if not isinstance(value, Mapping) or not all(_is_tensor(item) for item in value.values()):
        raise InputError(f"{where} is not a dictionary of tensors alone")
    return {str(key): tensor for key, tensor in value.items()}


def _some(names: Iterable[str]) -> str:
    listed = [str(name) for name in names]
    rest = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + rest


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
