"""A short identity of a base model, so that an adapter is never put on a base it was not trained on.

sha256 over the base's config, its tensor names and shapes, and 64 strided float32 values of every tensor. It is taken
from the files that the model came from wherever they are known: loading may cast or quantize, files do not change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from suite.files import read_json

SAMPLES = 64
# What differs between two loads of the same base and says nothing about its weights.
VOLATILE = {
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "quantization_config",
    "_diffusers_version",
}


def fingerprint(base: nn.Module | str | os.PathLike[str]) -> str | None:
    """The fingerprint of a base model, or of the folder that `from_pretrained` reads.

    Returns:
        64 hexadecimal digits, or None where the values cannot be known: a model on the meta device, or quantized
        weights whose files are not at hand.
    """
    if not isinstance(base, nn.Module):
        return _of_folder(Path(base))
    folder = _source_folder(base)
    return _of_folder(folder) if folder else _of_tensors(_config_of(base), _named_tensors(base))


def _source_folder(model: nn.Module) -> Path | None:
    config = getattr(model, "config", None)
    source = getattr(model, "name_or_path", None) or getattr(config, "_name_or_path", None)
    if not isinstance(source, str) or not source:
        return None
    folder = Path(source)
    return folder if _weight_files(folder) else None


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if path.name != "adapter_model.safetensors")


def _of_folder(folder: Path) -> str | None:
    files = _weight_files(folder)
    if not files:
        return None
    config_file = folder / "config.json"
    config = read_json(config_file) if config_file.is_file() else {}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for file in files:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - safe_open is no mapping
                    yield name, weights.get_tensor(name)

    return _of_tensors(config, tensors())


def _config_of(model: nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_diff_dict"):
        return config.to_diff_dict()
    return dict(config) if isinstance(config, dict) else {}


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    state = model.state_dict()
    tied = getattr(model, "_tied_weights_keys", None)
    sources = tied if isinstance(tied, dict) else {}
    for name, tensor in state.items():
        source = state.get(sources.get(name, ""))
        # Files hold a tied tensor once, under its source's name.
        if source is None or tensor.is_meta or tensor.data_ptr() != source.data_ptr():
            yield name, tensor


def _of_tensors(config: dict[str, Any], tensors: Iterator[tuple[str, Tensor]]) -> str | None:
    stable = {key: value for key, value in config.items() if key not in VOLATILE}
    digest = hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode())
    entries: dict[str, bytes] = {}
    for name, tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        if tensor.is_meta or tensor.dtype == torch.uint8:
            return None
        entries[name] = repr((name, tuple(tensor.shape))).encode() + _samples(tensor)
    for name in sorted(entries):
        digest.update(entries[name])
    return digest.hexdigest()


def _samples(tensor: Tensor) -> bytes:
    """Up to 64 values at even strides over the flattened tensor, as float32 bytes."""
    count = min(SAMPLES, tensor.numel())
    if count == 0:
        return b""
    positions = torch.arange(count, device=tensor.device) * tensor.numel() // count
    values = tensor.detach().reshape(-1)[positions]
    return values.to("cpu", torch.float32).numpy().tobytes()
