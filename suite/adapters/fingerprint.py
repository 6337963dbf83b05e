"""A short identity of a base model, so that an adapter is never put on a base it was not trained on without a word.

The fingerprint is sha256 over the base's config, its tensor names and shapes, and 64 strided float32 values of every
tensor. It is taken from the files that the model came from wherever they are known: loading may cast or quantize, and a
program may set what it likes in the config, files do not change.

Where no files are known, or other ones, the parts decide: names and shapes say what fits, and the values, rounded to
each of the usual dtypes, say whether two models are the same weights: casting rounds just so, and twice is once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import Tensor, nn

from suite.files import read_json

SAMPLES = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What differs between two loads of the same base and says nothing about its weights.
VOLATILE = {
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "quantization_config",
    "_diffusers_version",
}


Verdict = Literal["same", "unknown", "other weights", "other architecture"]


@dataclass(frozen=True)
class Identity:
    """What is known of a base.

    Attributes:
        fingerprint: of config, shapes and values together.
        shapes: sha256 over names and shapes.
        values: sha256 over names and values, by the dtype that the values were rounded to.
        kind: the model's class.
        None and nothing where it cannot be known: quantized weights whose files are not at hand, the meta device.
    """

    fingerprint: str | None = None
    shapes: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    def record(self) -> dict[str, Any]:
        """What an adapter keeps of its base."""
        values = dict(self.values)
        return {"fingerprint": self.fingerprint, "class": self.kind, "shapes": self.shapes, "values": values}

    def compared(self, record: Mapping[str, Any]) -> Verdict:
        """What the base that an adapter was trained on is to this one."""
        wanted, shapes, values = (record.get(key) for key in ("fingerprint", "shapes", "values"))
        if wanted is not None and wanted == self.fingerprint:
            return "same"
        if isinstance(values, Mapping) and any(values[dtype] == self.values.get(dtype) for dtype in values):
            return "same"
        if shapes is not None and self.shapes is not None:
            if shapes != self.shapes:
                return "other architecture"
        elif wanted is None or self.fingerprint is None:
            return "unknown"
        elif record.get("class") not in (None, self.kind):
            return "other architecture"
        return "other weights" if wanted is not None and self.fingerprint is not None else "unknown"


def identify(model: nn.Module) -> Identity:
    """The identity of a model without adapters.

    A model that is more than its base, or holds it in another layout than the files, tells the base's tensors under
    names that are the same whatever files it came from, by `base_tensors() -> Mapping[str, Tensor]`.
    """
    kind = type(model).__name__
    told = getattr(model, "base_tensors", None)
    if told is not None:
        return _of_tensors({}, iter(told().items()), kind)
    folder = _source_folder(model)
    return _of_folder(folder, kind) if folder else _of_tensors(_config_of(model), _named_tensors(model), kind)


def fingerprint(base: nn.Module | str | os.PathLike[str]) -> str | None:
    """The fingerprint of a base model, or of the folder that `from_pretrained` reads.

    Returns:
        64 hexadecimal digits, or None where the values cannot be known: a model on the meta device, or quantized
        weights whose files are not at hand.
    """
    return (identify(base) if isinstance(base, nn.Module) else _of_folder(Path(base))).fingerprint


def _source_folder(model: nn.Module) -> Path | None:
    config = getattr(model, "config", None)
    source = getattr(model, "name_or_path", None) or getattr(config, "_name_or_path", None)
    if not isinstance(source, str) or not source:
        return None
    folder = Path(source)
    if not folder.is_dir():
        folder = _cached_snapshot(source, getattr(config, "_commit_hash", None)) or folder
    return folder if _weight_files(folder) else None


def _cached_snapshot(name: str, commit: str | None) -> Path | None:
    """The folder of the Hugging Face cache that `from_pretrained` read a model of the hub from."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        return None
    try:
        file = try_to_load_from_cache(name, "config.json", revision=commit)
    except ValueError:  # no name that the hub could have
        return None
    return Path(file).parent if isinstance(file, str) else None


def _weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights; a snapshot may hold the same weights in other layouts beside them."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    return sorted(path for path in folder.glob("*.safetensors") if path.name != "adapter_model.safetensors")


def _of_folder(folder: Path, kind: str = "") -> Identity:
    files = _weight_files(folder)
    if not files:
        return Identity(kind=kind)
    config_file = folder / "config.json"
    config = read_json(config_file) if config_file.is_file() else {}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for file in files:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - safe_open is no mapping
                    yield name, weights.get_tensor(name)

    return _of_tensors(config, tensors(), kind)


def _config_of(model: nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_diff_dict"):
        return config.to_diff_dict()
    return dict(config) if isinstance(config, dict) else {}


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    state = model.state_dict()
    owned = dict(model.named_parameters(remove_duplicate=False))
    tied = getattr(model, "_tied_weights_keys", None)
    sources = tied if isinstance(tied, dict) else {}
    for name, tensor in state.items():
        source = sources.get(name, "")
        one = owned.get(name) is owned.get(source, tensor)
        # Files hold a tied tensor once, under its source's name.
        if source not in state or not (one or _same_storage(tensor, state[source])):
            yield name, tensor


def _same_storage(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors with storage begin at the same place."""
    return not one.is_meta and one.data_ptr() == other.data_ptr()


def _of_tensors(config: dict[str, Any], tensors: Iterator[tuple[str, Tensor]], kind: str) -> Identity:
    stable = {key: value for key, value in config.items() if key not in VOLATILE}
    whole = hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode())
    shapes, values = hashlib.sha256(), {name: hashlib.sha256() for name in DTYPES}
    found: dict[str, tuple[bytes, Tensor | None]] = {}  # no whole tensors: a base may be larger than the memory
    for name, tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        if tensor.dtype == torch.uint8:  # packed: neither its values nor its shape are the base's
            return Identity(kind=kind)
        described = repr((name, tuple(tensor.shape))).encode()
        found[name] = described, None if tensor.is_meta else _samples(tensor)
    for _, (described, _) in sorted(found.items(), key=itemgetter(0)):
        shapes.update(described)
    for name, (described, sample) in sorted(found.items(), key=itemgetter(0)):
        if sample is None:
            return Identity(shapes=shapes.hexdigest(), kind=kind)
        whole.update(described + sample.numpy().tobytes())
        for dtype, digest in values.items():
            digest.update(name.encode() + sample.to(DTYPES[dtype]).float().numpy().tobytes())
    by_dtype = {dtype: digest.hexdigest() for dtype, digest in values.items()}
    return Identity(whole.hexdigest(), shapes.hexdigest(), by_dtype, kind)


def _samples(tensor: Tensor) -> Tensor:
    """Up to 64 values at even strides over the flattened tensor, in float32 on the CPU."""
    count = min(SAMPLES, tensor.numel())
    positions = torch.arange(count, device=tensor.device) * tensor.numel() // max(count, 1)
    return tensor.detach().reshape(-1)[positions].to("cpu", torch.float32)
