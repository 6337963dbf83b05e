"""The authors' checkpoints <-> ours: prefixes, key names, and what must and must not be missing.

Files hold `{base_model | model | model_state_dict: state, ...}`, with `module.` before every key of a parallel run.
They are read with `weights_only`, whatever else they hold.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from domains.point_cloud.data.datasets import scanobjectnn
from domains.point_cloud.data.datasets.modelnet import MODELNET40
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.model.bases import _plain, load_base
from domains.point_cloud.model.manifest import BANK, Stated, from_manifest
from domains.point_cloud.official.keys import full_state, load_full, official_name, read, trainable_names
from suite import adapters
from suite.errors import InputError
from suite.hub import weights


def convert(
    source: Path,
    out: Path,
    *,
    classes: Sequence[str] = (),
    num_group: int | None = None,
    num_heads: int | None = None,
    base: Path | None = None,
    bank: Path | None = None,
) -> None:
    """Turn a released fine-tuned model of PointGST or Point-PEFT into an adapter folder.

    The file holds its backbone too. Without `base` that is written to `out/base`, where prediction finds it with
    `--base ./out/base`; with `base` it is only compared.

    Args:
        source: the released file. out: an existing, empty folder.
        classes: their names; those of ModelNet40 or ScanObjectNN for 40 or 15 classes, else numbers, by default.
        num_group: patches a cloud; 128 for 15 classes (ScanObjectNN), else 64, by default.
        num_heads: attention heads; a width of 64 each by default.
        base: folder of the base that the adapter is to stand on.
        bank: Point-PEFT's released file of features, a tensor (C, M).

    Raises:
        InputError: the file is of no method known here, tensors are missing, unknown or of another shape, or its
            frozen tensors are not those of `base`.
    """
    state = read(source)
    method, options = _method_of(state, str(source))
    architecture = _architecture_of(state, num_group, num_heads)
    count = architecture["cls_dim"]
    if classes and len(classes) != count:
        raise InputError(f"{source} has {count} classes, and {len(classes)} names are given")
    net = bases.build(architecture) if base is None else bases.load_base_folder(base, **architecture)
    if base is None:
        own = net.state_dict()
        net.load_state_dict({k: v for k, v in state.items() if k in own and v.shape == own[k].shape}, strict=False)
        bases.save_base(net, out / "base", canonical=True)
        net = bases.load_base_folder(out / "base", **architecture)
    net = attachments.attach(net, method, freeze_bn=False, **options)
    if base is not None:
        _check_frozen(net, state, source, base)
    load_full(net, state, str(source))
    small = count != 40
    stated = Stated(
        classes=tuple(classes or _CLASSES.get(count, map(str, range(count)))),
        npoints=2048 if small else 1024,
        normalise=not small,
        selected_on="test",
        backbone=architecture,
        method=method,
        freeze_bn=False,
        prior=bank is not None,
    )
    _save_into(net, out, stated.to_dict())
    if bank is not None:
        weights.write({"bank": _bank(bank, architecture["trans_dim"])}, out / BANK)


def export(source: Path, out: Path, *, base: Path | None = None) -> None:
    """Write an adapter as the file that the authors' code loads, `ckpt-best.pth`: backbone, adapters and head.

    Args:
        source: the adapter's folder. out: an existing, empty folder.
        base: folder of its base; by default the one beside it, else the one that the adapter names.

    Raises:
        InputError: the base is not at hand, or the method has no released layout.
    """
    known = adapters.read_manifest(source)
    method = known["domain"].get("method")
    if method not in ("pointgst", "point_peft"):
        raise InputError(f"{source}: {method} has no layout of the authors'; only pointgst and point_peft have")
    if base is None and (source / "base").is_dir():
        base = source / "base"
    if base is None:
        from suite import hub

        base = hub.resolve(known["base"]["reference"] or "", "point_cloud", kind="base")
    state = full_state(from_manifest(source, base))
    contents = {"base_model": {f"module.{name}": value.clone() for name, value in state.items()}, "epoch": 0}
    torch.save(contents, out / "ckpt-best.pth")


def convert_base(source: Path, out: Path, *, num_heads: int | None = None) -> Path:
    """Turn a released pre-training file (Point-MAE, ACT, ReCon, PointGPT, Point-M2AE) into a base folder.

    Raises:
        InputError: it holds no encoder of this family, whole and of one shape.
    """
    state = read(source)
    plain = {_plain(key): value for key, value in state.items()}
    if "encoders.0.first_conv.0.weight" in plain:
        net = bases.build({"class": "point_m2ae", **_scales_of(plain)})
        load_base(net, state, str(source))
        return bases.save_base(net, out)
    net = bases.build({**_architecture_of(plain, None, num_heads), "cls_dim": 40})
    load_base(net, state, str(source))
    return bases.save_base(net, out, canonical=True)


def _scales_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths and depths of a Point-M2AE state; how many tokens a scale has is no matter of its weights."""
    places = [(int(m[1]), int(m[2])) for key in state if (m := re.match(r"blocks\.(\d+)\.blocks\.(\d+)\.", key))]
    scales = range(1 + max((scale for scale, _ in places), default=-1))
    widths = tuple(state[f"pos_embeds.{scale}.2.weight"].shape[0] for scale in scales)
    return {"encoder_dims": widths, "encoder_depths": tuple(1 + max(b for s, b in places if s == n) for n in scales)}


_CLASSES: Mapping[int, Sequence[str]] = {40: MODELNET40, 15: scanobjectnn.CLASSES}


def _method_of(state: Mapping[str, Tensor], where: str) -> tuple[str, dict[str, Any]]:
    """The method of a released state with the settings that its shapes tell, in the released modes."""
    for key, value in state.items():
        if key.endswith(".gft_adapter.down.weight"):
            return "pointgst", {"rank": value.shape[0], "basis": "released"}
    if "prompt_cor" in state:
        prompted = state["blocks.blocks.0.prompt_embeddings"].shape[0]
        inner = state["blocks.blocks.0.adapter.ln1.weight"].shape[0]
        prior = state["blocks.blocks.0.cp_adapter.ln1.weight"].shape[0]
        sizes = {"prompts": prompted, "adapter_dim": inner, "prior_width": prior}
        return "point_peft", {**sizes, "indexing": "released"}
    raise InputError(f"{where} has neither PointGST's nor Point-PEFT's adapters; a pre-training file is no adapter")


def _architecture_of(state: Mapping[str, Tensor], num_group: int | None, num_heads: int | None) -> dict[str, Any]:
    """What the shapes of a released state tell of its backbone."""
    blocks = {int(m[2]) for key in state if (m := re.match(r"blocks\.(blocks|layers)\.(\d+)\.", key))}
    if "encoder.first_conv.0.weight" not in state or not blocks:
        raise InputError("the file has no patch encoder or no blocks; it is of no backbone of the Point-MAE family")
    last = max(int(key.split(".")[2]) for key in state if key.startswith("encoder.second_conv."))
    width = state[f"encoder.second_conv.{last}.weight"].shape[0]
    heads = [value.shape[0] for key, value in state.items() if key.endswith("cls_head_finetune.8.weight")]
    classes = heads[0] if heads else 40
    return {
        "class": "point_gpt" if "blocks.sos" in state else "point_mae",
        "trans_dim": width,
        "encoder_dims": width,
        "depth": max(blocks) + 1,
        "num_heads": num_heads or max(1, width // 64),
        "num_group": num_group or (128 if classes == 15 else 64),
        "encoder_width": 128 if width in (768, 1024) else state["encoder.first_conv.0.weight"].shape[0],
        "cls_dim": classes,
    }


def _check_frozen(net: nn.Module, state: Mapping[str, Tensor], source: Path, base: Path) -> None:
    """Refuse a base whose frozen weights are not those in the released file."""
    trained = trainable_names(net)
    other = [
        name
        for key, parameter in net.named_parameters()
        if (name := official_name(key)) is not None
        and name not in trained
        and name in state
        and not torch.equal(parameter.detach(), state[name].to(parameter.dtype))
    ]
    if other:
        raise InputError(f"{source} was trained on another base than {base}: {len(other)} tensors, e.g. {other[0]}")


def _bank(file: Path, width: int) -> Tensor:
    """The bank (C, M) in a file that holds one tensor, bare or under a name."""
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{file}: not read, it holds more than tensors ({type(error).__name__})") from None
    tensors = [loaded] if isinstance(loaded, Tensor) else [v for v in dict(loaded).values() if isinstance(v, Tensor)]
    if len(tensors) != 1 or tensors[0].ndim != 2 or tensors[0].shape[0] != width:
        raise InputError(f"{file}: a bank is one tensor ({width}, clouds); found {[tuple(t.shape) for t in tensors]}")
    return tensors[0].float()


def _save_into(net: nn.Module, out: Path, stated: dict[str, Any]) -> None:
    """Save beside what `out` holds already: saving an adapter replaces its folder."""
    with TemporaryDirectory(dir=out.parent) as scratch:
        saved = adapters.save(net, Path(scratch) / "adapter", extra=stated)
        for file in saved.iterdir():
            shutil.move(str(file), out / file.name)
