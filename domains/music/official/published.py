"""Published adapter files to adapter folders and back, without their base: the shapes are known."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from domains.music.model import attachments, bases, mustango_base
from domains.music.model.manifest import WEIGHTS_LICENCE, Manifest
from domains.music.model.mustango_adapters import UNET
from domains.music.official import mustango, waveform
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.hub import weights

SWAPPED = "in Makam captions of the published data the usul stands where the makam is named, and the other way round"


def convert(source: Path, out: Path, base: str | None) -> None:
    """Read a published file; see `domains.music.official.convert`."""
    state = weights.read(source) if source.suffix == ".safetensors" else _torch_file(source)
    if any(key.removeprefix(waveform.FRONT) in waveform.KEYS for key in state):
        model, stated, reference = _waveform(state)
    else:
        model, stated, reference = _mustango(state, source)
    with TemporaryDirectory(dir=out.parent) as scratch:
        saved = adapters.save(model, Path(scratch) / "adapter", base=base or reference, extra=stated.to_dict())
        for path in saved.iterdir():
            shutil.move(str(path), out / path.name)


def export(source: Path, out: Path) -> None:
    """Write a folder back; see `domains.music.official.export`."""
    stated = Manifest.from_dict(adapters.read_manifest(source)["domain"], source)
    with torch.device("meta"):
        bare = mustango_base.shape(None) if stated.family == "mustango" else bases.shape("", {"size": "medium"})
    model = adapters.load(bare, source)
    found = adapters.layers(model, "linear_adapter")
    if stated.family == "mustango":
        state = mustango.released(model)
    elif [layer.target for _, layer in found] == ["waveform"]:
        state = waveform.released(found[0][1].tensor("branch", "default").state_dict())
    else:
        raise InputError(f"{source}: the authors' code has no such adapter; theirs sit in the UNet or on the waveform")
    weights.write(state, out / "adapter.safetensors")


def _mustango(state: Mapping[str, Tensor], source: Path) -> tuple[nn.Module, Manifest, str]:
    _, found = mustango.split(state)
    if not found:
        raise InputError(f"{source}: no key has .adapter. in it; it holds no published adapters")
    with torch.device("meta"):
        model = mustango_base.shape(None).requires_grad_(False)
        model = mustango.attach(model, found, front=UNET, assign=True)
    stated = Manifest(family="mustango", rate=mustango_base.RATE, trained_on=SWAPPED)
    return model, stated, "hf:declare-lab/mustango-pretrained"


def _waveform(state: Mapping[str, Tensor]) -> tuple[nn.Module, Manifest, str]:
    ours = waveform.ours({k: v for k, v in state.items() if k.removeprefix(waveform.FRONT) in waveform.KEYS})
    section = {"preset": "waveform", "bottleneck_size": len(ours["blocks.0.down.bias"])}
    with torch.device("meta"):
        model = bases.shape("", {"size": "medium"}).requires_grad_(False)
        model = attachments.attach_section(model, AdapterSection.of(section, attachments.PRESETS))
    [(_, layer)] = adapters.layers(model, "linear_adapter")
    layer.tensor("branch", "default").load_state_dict(ours, assign=True)
    return model, Manifest(rate=32_000, licences=(WEIGHTS_LICENCE,)), "hf:facebook/musicgen-medium"


def _torch_file(source: Path) -> dict[str, Tensor]:
    """Tensors of a torch file, also of those that lie one level deeper."""
    found: dict[str, Tensor] = {}
    for key, value in weights.contents(source).items():
        if isinstance(value, Tensor):
            found[key] = value
        elif key == "adapter_state_dict" and isinstance(value, Mapping):
            found.update({f"{waveform.FRONT}{name}": tensor for name, tensor in value.items()})
    return found
