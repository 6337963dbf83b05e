"""Bases in one weights file, as A1111 and ComfyUI keep them: which file, and where the settings of its parts are.

Such a file holds weights under the names of Stability's own code, no settings and no vocabulary. These are in a
pipeline's folder of the same architecture: one that lies beside the file and bears its name, or the repository that
diffusers knows for it, of which only settings are fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite import hub
from suite.errors import InputError
from suite.hub import formats, resolution

INDEX = "model_index.json"


def weights_file(base: str | Path, domain: str) -> Path | None:
    """The file that a base is, or None where it is a folder.

    Raises:
        InputError: it is a pickle, or cannot be had.
    """
    if isinstance(base, Path):
        found = base
    elif isinstance(parsed := hub.parse(base, domain), (hub.LocalPath, hub.Url)):
        found, _ = resolution.fetch(parsed, "base")
    else:
        return None
    if not found.is_file() or formats.detect(found) not in (formats.SAFETENSORS, formats.TORCH):
        return None
    if found.suffix != ".safetensors":
        raise InputError(f"{base} is a pickle, which may run code when it is read; take its .safetensors edition")
    return found


def settings_folder(file: Path) -> Path:
    """The folder of the pipeline that the file holds the weights of.

    Raises:
        InputError: nobody knows such a file, or the repository of its kind cannot be had.
    """
    beside = file.with_suffix("")
    if (beside / INDEX).is_file():
        return beside
    repository = _usual_repository(file)
    try:
        return resolution.settings(f"hf:{repository}")
    except InputError as error:
        raise InputError(
            f"{file.name} holds weights alone; the settings and vocabulary of {repository} go with it ({error}). "
            f"Offline: lay a pipeline's folder without weights beside it, as {beside}/"
        ) from error


def _usual_repository(file: Path) -> str:
    """The pipeline whose settings fit the file, as diffusers tells it by names and shapes of its tensors."""
    from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES, fetch_diffusers_config

    tensors = _shapes(file)
    known = [name for names in CHECKPOINT_KEY_NAMES.values() for name in ([names] if isinstance(names, str) else names)]
    if not any(name in tensors for name in known):
        raise InputError(
            f"{file.name} is no base that diffusers knows: it holds {next(iter(tensors), 'nothing')!r}; an adapter's "
            "file is given with --adapter"
        )
    return str(fetch_diffusers_config(tensors)["pretrained_model_name_or_path"])


def _shapes(file: Path) -> dict[str, Any]:
    """The tensors of a file without their numbers."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return {name: torch.empty(opened.get_slice(name).get_shape(), device="meta") for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged ({str(error).splitlines()[0]}); fetch it again") from error
