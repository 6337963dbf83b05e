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

from domains.point_cloud.data.classes import MODELNET40, SCANOBJECTNN
from domains.point_cloud.model import bases as model
from suite import adapters
from suite.errors import InputError
from suite.hub import weights

PREFIXES = ("MAE_encoder.", "ACT_encoder.", "base_model.", "GPT_Transformer.", "transformer_q.")
"""What pre-training puts before the keys of the part that fine-tuning keeps."""

_SCALES = {
    "h_encoder.token_embed.": "encoders.",
    "h_encoder.encoder_pos_embeds.": "pos_embeds.",
    "h_encoder.encoder_blocks.": "blocks.",
}
"""Point-M2AE's pre-training names, and those under which Point-PEFT adapts it."""

_UNUSED = re.compile(
    r"(mask_token|decoder_pos_embed\.|MAE_decoder\.|ACT_decoder\.|increase_dim\.|.*cls_head_finetune\.)"
    r"|h_encoder\.encoder_norms\.|h_decoder\.|decoder_|token_prop\.|rec_head\."
)
_OWN = re.compile(
    r"blocks\.blocks\.(\d+)\.(ad_gate|prompt_embeddings|cp_adapter\.|adapter\.|adapter1\.|out_transform\.)(.*)"
)


def read(path: str | Path) -> dict[str, Tensor]:
    """The state of a released file, without the prefix of a parallel run.

    Raises:
        InputError: the file is no file of plain tensors, or has no state under a known key.
    """
    contents = weights.contents(path)
    for key in ("base_model", "model", "model_state_dict", "state_dict"):
        if isinstance(contents.get(key), Mapping):
            contents = dict(contents[key])
            break
    state = {key.removeprefix("module."): value for key, value in contents.items() if isinstance(value, Tensor)}
    if not state:
        raise InputError(
            f"{path}: no model state (looked for base_model, model, model_state_dict; found {list(contents)[:5]})"
        )
    return state


def load_base(model: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> list[str]:
    """Put a pre-trained state into a backbone; return the keys of the file that were not used.

    Class token, its position, the head and adapters may be missing: they are trained. Decoder parts may be left over.

    Raises:
        InputError: a tensor of the encoder or its blocks is missing or of another shape. The model is unchanged.
    """
    own = {key: value for key, value in model.state_dict().items() if ".suite_" not in key}
    found: dict[str, Tensor] = {}
    unused = []
    for key, value in state.items():
        name = _plain(key)
        if name in own and not re.match(r".*cls_head_finetune\.", name):
            found[name] = value
        else:
            unused.append(key)
    needed = [key for key in own if key.startswith(_ENCODER) and "cls_" not in key]
    missing = [key for key in needed if key not in found and not key.endswith("num_batches_tracked")]
    wrong = [f"{key} {tuple(found[key].shape)}" for key in found if found[key].shape != own[key].shape]
    unknown = [key for key in unused if not _UNUSED.match(key)]
    if missing or wrong or unknown:
        parts = {"missing": missing, "of another shape": wrong, "unknown": unknown}
        listed = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:4])}" for what, keys in parts.items() if keys)
        raise InputError(f"{where} is not a base of this backbone ({listed}); check the file and the architecture")
    model.load_state_dict(found, strict=False)
    return unused


_ENCODER = ("blocks.", "encoder.", "pos_embed.", "encoders.", "pos_embeds.")
"""Where the keys begin that a pre-trained state must have."""


def _plain(key: str) -> str:
    """A key of a pre-training file as the backbone calls it."""
    for prefix, own in (*_SCALES.items(), *((prefix, "") for prefix in PREFIXES)):
        if key.startswith(prefix):
            return own + key.removeprefix(prefix)
    return key


def official_name(key: str) -> str | None:
    """The released name of a key of one of our models with adapters; None for what exists on our side only."""
    if match := re.fullmatch(r"(.*)\.suite_pcsa\.pcsa_adapter\.[^.]+\.(.*)", key):
        return f"{match[1]}.gft_adapter.{match[2]}"
    if match := re.fullmatch(r"blocks\.suite_point_peft\.point_peft_modules\.[^.]+\.(.*)", key):
        inner = match[1]
        if inner.startswith("blocks."):
            return f"blocks.{inner}"
        return inner if inner == "prompt_cor" else f"blocks.{inner}"
    return None if ".suite_" in key or key.startswith("suite_") else key


def load_full(model: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> None:
    """Put a released fine-tuned model, backbone included, into a model with the method's adapters attached.

    Raises:
        InputError: keys are missing, unknown, or of another shape; the message lists them. The model is unchanged.
    """
    names = {official: key for key in model.state_dict() if (official := official_name(key)) is not None}
    own = model.state_dict()
    optional = {name for name in names if name.endswith("num_batches_tracked")}
    weights.check_keys(state.keys() | optional, names.keys(), where)
    wrong = [
        f"{n} {tuple(state[n].shape)}, not {tuple(own[names[n]].shape)}"
        for n in state
        if state[n].shape != own[names[n]].shape
    ]
    if wrong:
        raise InputError(
            f"{where}: {len(wrong)} tensors of another shape: {'; '.join(wrong[:4])}; check the architecture"
        )
    model.load_state_dict({names[name]: value for name, value in state.items()}, strict=False)


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model with adapters under the released names."""
    return {n: value for key, value in model.state_dict().items() if (n := official_name(key)) is not None}


def trainable_names(model: nn.Module) -> set[str]:
    """The released names of what trains."""
    adapters.count(model)
    return {
        n
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and (n := official_name(key)) is not None
    }


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
    net = model.build(architecture) if base is None else model.load_base_folder(base, **architecture)
    if base is None:
        own = net.state_dict()
        net.load_state_dict({k: v for k, v in state.items() if k in own and v.shape == own[k].shape}, strict=False)
        model.save_base(net, out / "base", canonical=True)
        net = model.load_base_folder(out / "base", **architecture)
    net = model.attach(net, method, freeze_bn=False, **options)
    if base is not None:
        _check_frozen(net, state, source, base)
    load_full(net, state, str(source))
    small = count != 40
    stated = {
        "task": "classification",
        "backbone": architecture,
        "method": method,
        "freeze_bn": False,
        "classes": list(classes) or list(_CLASSES.get(count, map(str, range(count)))),
        "npoints": 2048 if small else 1024,
        "normalise": not small,
        "up": "y",
        "selected_on": "test",
        "prior": bank is not None,
    }
    _save_into(net, out, stated)
    if bank is not None:
        weights.write({"bank": _bank(bank, architecture["trans_dim"])}, out / "bank.safetensors")


def export(source: Path, out: Path, *, base: Path | None = None) -> None:
    """Write an adapter as the file that the authors' code loads, `ckpt-best.pth`: backbone, adapters and head.

    Args:
        source: the adapter's folder. out: an existing, empty folder.
        base: folder of its base; by default the one beside it, else the one that the adapter names.

    Raises:
        InputError: the base is not at hand, or the method has no released layout.
    """
    manifest = adapters.read_manifest(source)
    method = manifest["domain"].get("method")
    if method not in ("pointgst", "point_peft"):
        raise InputError(f"{source}: {method} has no layout of the authors'; only pointgst and point_peft have")
    if base is None and (source / "base").is_dir():
        base = source / "base"
    if base is None:
        from suite import hub

        base = hub.resolve(manifest["base"]["reference"] or "", "point_cloud", kind="base")
    state = full_state(model.from_manifest(source, base))
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
        net = model.build({"class": "point_m2ae", **_scales_of(plain)})
        load_base(net, state, str(source))
        return model.save_base(net, out)
    net = model.build({**_architecture_of(plain, None, num_heads), "cls_dim": 40})
    load_base(net, state, str(source))
    return model.save_base(net, out, canonical=True)


def _scales_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths and depths of a Point-M2AE state; how many tokens a scale has is no matter of its weights."""
    places = [(int(m[1]), int(m[2])) for key in state if (m := re.match(r"blocks\.(\d+)\.blocks\.(\d+)\.", key))]
    scales = range(1 + max((scale for scale, _ in places), default=-1))
    widths = tuple(state[f"pos_embeds.{scale}.2.weight"].shape[0] for scale in scales)
    return {"encoder_dims": widths, "encoder_depths": tuple(1 + max(b for s, b in places if s == n) for n in scales)}


_CLASSES: Mapping[int, Sequence[str]] = {40: MODELNET40, 15: SCANOBJECTNN}


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
