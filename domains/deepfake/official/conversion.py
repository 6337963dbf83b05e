"""The authors' files <-> ours: `yermandy/deepfake-detection` (`model.ckpt`), `yermandy/GenD_CLIP_*` (hub folders)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake.model import attachments, bases, dino, perception
from domains.deepfake.model.forgery_classifier import ForgeryClassifier, HeadKind
from domains.deepfake.model.manifest import Manifest, from_manifest
from domains.deepfake.model.perception import PerceptionEncoder
from domains.deepfake.official.keys import PROJECTION, Layout, Released, is_norm, released, state_of
from domains.deepfake.types import Protocol
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.files import read_json
from suite.hub import weights

WEIGHTS = ("model.safetensors", "model.ckpt", "pytorch_model.bin")

TOLERANCE = 1e-6
"""By which a frozen tensor may differ from the base's: files in half precision are not the base in float32."""


def convert(
    source: Path,
    out: Path,
    *,
    base: Path | None = None,
    head: HeadKind | None = None,
    alignment: Protocol | None = None,
    heads: int | None = None,
) -> None:
    """Turn a released detector into an adapter folder: the tuned norms and the head, 418 KB for ViT-L/14.

    The file holds its tower too. Without `base` that is written to `out/base`, where prediction finds it with
    `--base ./out/base`; with `base` it is only compared.

    Args:
        source: `model.ckpt`, `model.safetensors`, or the folder with it. out: an existing, empty folder.
        base: folder of the base that the adapter is to stand on.
        head: LinearNorm or linear; what the file states, LinearNorm where it states nothing.
        alignment: the template that its data were cut with; deepfakebench for the first paper's files, gend for GenD's.
        heads: of attention; a width of 64 each where left out.

    Raises:
        InputError: the file is of something else, tensors are missing, unknown or of another shape, or a frozen one is
            not the base's.
    """
    file = _file(Path(source))
    hyper, state = _read(file)
    found = released(state, str(file))
    kind = head or hyper.get("head", "LinearNorm")
    if kind not in get_args(HeadKind):
        raise InputError(f"{file}: head {kind!r} is unknown; give --option head={' or '.join(get_args(HeadKind))}")
    if base is None:
        base = _write_base(found, out / "base", heads, str(hyper.get("backbone", "")))
    model = bases.of_folder(base, kind)
    difference = check_frozen(model, found, file, base)
    section = AdapterSection.of({"preset": "clip-ln"}, attachments.PRESETS)
    model = attachments.attach_section(model, section)
    _fill(model, found)
    stated = Manifest(
        head=kind,
        preset="clip-ln-slerp" if found.layout == "p1" else "clip-ln-unal",
        alignment=alignment or ("deepfakebench" if found.layout == "p1" else "gend"),
        tower=bases.sizes(model.vision_model),
        trained_on="FaceForensics++ c23, as its authors say",
        metrics={"largest_difference_from_base": difference},
    )
    backbone = hyper.get("backbone")
    if isinstance(model.vision_model, PerceptionEncoder):
        backbone = f"timm/{model.vision_model.architecture}.fb"
    reference = f"hf:{backbone}" if isinstance(backbone, str) and backbone.count("/") == 1 else None
    with TemporaryDirectory(dir=out.parent) as scratch:
        saved = adapters.save(model, Path(scratch) / "adapter", base=reference, extra=stated.to_dict())
        for path in saved.iterdir():
            shutil.move(str(path), out / path.name)


def export(source: Path, out: Path, *, base: Path | None = None, layout: Layout = "gend") -> None:
    """Write an adapter as the authors' code loads it.

    Args:
        source: the adapter's folder. out: an existing, empty folder.
        base: folder of its base; the one beside it, else the one that the adapter names, by default.
        layout: gend (a hub folder, norms merged) or p1 (`model.ckpt`, frozen and tuned norms beside each other).

    Raises:
        InputError: the base is not at hand, or the adapter trains something else than norms and head.
    """
    known = adapters.read_manifest(source)
    methods = {entry["method"] for entry in known["adapters"]}
    if methods != {"ln_tuning", "parameters"}:
        raise InputError(
            f"{source}: {' + '.join(sorted(methods))} has no layout of the authors'; only tuned norms have"
        )
    if base is None and (source / "base").is_dir():
        base = source / "base"
    if base is None:
        from suite import hub

        base = hub.resolve(known["base"]["reference"] or "", bases.DOMAIN, kind="base")
    model, stated = from_manifest(source, base)
    before = {name: tensor for name, tensor in bases.of_folder(base, stated.head).vision_model.state_dict().items()}
    adapters.merge(model)
    tower = {name: tensor.clone() for name, tensor in merged_tower(model).items()}
    head = {name: tensor.clone() for name, tensor in _head(model).items()}
    backbone = (known["base"]["reference"] or "").removeprefix("hf:").partition("@")[
        0
    ] or "openai/clip-vit-large-patch14"
    if isinstance(model.vision_model, PerceptionEncoder):
        backbone = model.vision_model.architecture
    state = state_of(tower, before, head, layout)
    if layout == "p1":
        hyper = {"backbone": backbone, "head": stated.head, "num_classes": 2, "run_name": "peft-suite"}
        torch.save({"state_dict": state, "hyper_parameters": hyper}, out / "model.ckpt")
        return
    if (projection := _projection(base)) is not None:
        state[PROJECTION] = projection
    config = {"architectures": ["GenD"], "backbone": backbone, "head": stated.head, "model_type": "GenD"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights.write(state, out / "model.safetensors")


def check_frozen(model: ForgeryClassifier, found: Released, file: Path, base: Path) -> float:
    """The largest difference between what the file froze and the base.

    Raises:
        InputError: the tensors are others, or one differs: such an adapter would be of another base.
    """
    own = model.vision_model.state_dict()
    own.pop("embeddings.position_ids", None)
    missing, unknown = sorted(set(own) - set(found.tower)), sorted(set(found.tower) - set(own))
    if missing or unknown:
        raise InputError(
            f"{file}: {len(missing)} tensors of the base are missing and {len(unknown)} are unknown, e.g. "
            f"{(missing + unknown)[0]}; it is of another tower than {base}"
        )
    wrong = [name for name, tensor in own.items() if found.tower[name].shape != tensor.shape]
    if wrong:
        shapes = f"{tuple(found.tower[wrong[0]].shape)}, the base has {tuple(own[wrong[0]].shape)}"
        raise InputError(f"{file}: {wrong[0]} is {shapes}; it is of another tower than {base}")
    frozen = {name: tensor for name, tensor in found.tower.items() if not is_norm(name)} | dict(found.before)
    apart = {name: float((tensor.float() - own[name].float()).abs().max()) for name, tensor in frozen.items()}
    worst = max(apart, key=lambda name: apart[name])
    if apart[worst] > TOLERANCE:
        count = sum(difference > TOLERANCE for difference in apart.values())
        raise InputError(
            f"{file}: {count} frozen tensors are not those of {base}, {worst} by {apart[worst]:.3g}; an adapter of "
            "norms and head would not be this detector: name its own base, or none to keep the file's tower"
        )
    return apart[worst]


def merged_tower(model: ForgeryClassifier) -> dict[str, Tensor]:
    """The weights of the tower of a model whose adapters are merged, under transformers' names."""
    state = model.vision_model.state_dict()
    plain = {
        name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if "ln_tuning_layers" not in name
    }
    return {
        name: tensor for name, tensor in plain.items() if ".suite_" not in name and not name.endswith("position_ids")
    }


def _head(model: ForgeryClassifier) -> dict[str, Tensor]:
    return {"weight": model.head.weight.detach(), "bias": model.head.bias.detach()}


def _fill(model: ForgeryClassifier, found: Released) -> None:
    """Put tuned norms and head of a file into a model with an untrained adapter."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if "ln_tuning_layers" in name:
                norm, _, rest = name.removeprefix("vision_model.").partition(".ln_tuning_layers.")
                parameter.copy_(found.tower[f"{norm}.{rest.rpartition('.')[2]}"])
            else:
                parameter.copy_(found.head[name.rpartition(".")[2]])


def _file(source: Path) -> Path:
    if source.is_file():
        if source.suffix == ".torchscript":
            raise InputError(f"{source} is a program, which is not run; give model.ckpt or model.safetensors beside it")
        return source
    for name in WEIGHTS:
        if (source / name).is_file():
            return source / name
    raise InputError(f"{source}: none of {', '.join(WEIGHTS)} in it; give the folder of a released detector")


def _read(file: Path) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """What the file states of itself, and its tensors."""
    config = file.parent / "config.json"
    stated = read_json(config) if config.is_file() else {}
    if file.suffix == ".safetensors":
        return stated, weights.read(file)
    contents = weights.contents(file)
    hyper = contents.get("hyper_parameters")
    state = contents.get("state_dict", contents)
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{file}: no state_dict of tensors in it; it is no released detector")
    return {**stated, **(hyper if isinstance(hyper, dict) else {})}, state


def _write_base(found: Released, folder: Path, heads: int | None, backbone: str) -> Path:
    """The file's tower as a base: norms before tuning where the file has them, else as they are."""
    state = {**found.tower, **found.before}
    if any(name.startswith("backbone.model.layer.") for name in state):
        return dino.write_folder(folder, state, heads)
    if any(name.startswith("backbone.") for name in state):
        return perception.write_folder(folder, backbone, state)
    try:
        patches, positions = state["embeddings.patch_embedding.weight"], state["embeddings.position_embedding.weight"]
        width, patch = patches.shape[0], patches.shape[-1]
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=len({name.split(".")[2] for name in state if name.startswith("encoder.layers.")}),
            num_attention_heads=heads or max(1, width // 64),
            image_size=round((len(positions) - 1) ** 0.5) * patch,
            patch_size=patch,
            hidden_act="quick_gelu",
        )
        model = CLIPVisionModel(config)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (KeyError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"the released tower is no whole CLIP ({line[:160]})") from error
    model.save_pretrained(folder)
    return folder


def _projection(base: Path) -> Tensor | None:
    """The projection of a base that is a whole CLIP: GenD's files carry it along."""
    file = base / "model.safetensors"
    if not file.is_file():
        return None
    return weights.read(file).get("visual_projection.weight")
