"""Weights files of other programs to changes: LoRA, LoKr, LoHa and full differences under anybody's names.

Scaling follows who wrote the file. Kohya's and LyCORIS's files: alpha / rank, or 1 without an alpha; a LoKr whose two
factors are whole has none. peft: alpha / r from its configuration, always.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.personalized_diffusion.official import flux_names, processor_keys
from domains.personalized_diffusion.official.changes import Change, Dense, Hadamard, Kronecker, LowRank
from domains.personalized_diffusion.official.naming import native
from domains.personalized_diffusion.official.processor_keys import Kind, Pair, kind_of_file
from suite.errors import InputError
from suite.hub import weights

Scale = Callable[[str, int], float | None]
"""Name in the file and rank to alpha / rank where a configuration tells it, else None."""

_PART = re.compile(
    r"(.+?)\.(lora_(?:down|up|mid|A|B)(?:\.default)?(?:\.weight)?|lora\.(?:down|up)\.weight"
    r"|lokr_(?:w[12](?:_[ab])?|t[12])|hada_(?:w[12]_[ab]|t[12])|diff(?:_b)?|alpha|dora_scale"
    r"|lora_magnitude_vector(?:\.default)?(?:\.weight)?)"
)
_NORM = re.compile(r".+\.[wb]_norm")
_UNREAD = {
    "OFT": re.compile(r"(.+)\.oft_(blocks|diag|R(\.default)?(\.weight)?)"),
    "GLoRA": re.compile(r"(.+)\.[ab][12]\.weight"),
    "IA3": re.compile(r"(.+)\.(on_input|ia3_l(\.default)?)"),
    "BOFT": re.compile(r"(.+)\.boft_.+"),
}
"""Methods whose change takes the base's weights, by a part of their keys."""
_NO_ADAPTER: Mapping[str, tuple[re.Pattern[str], str]] = {
    "a whole base": (
        re.compile(r"(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\..+"),
        "give it with --base",
    ),
    "a ControlNet": (
        re.compile(r"(control_model|controlnet_\w+|lora_controlnet)\b.*"),
        "it changes no weights of a base",
    ),
    "a textual inversion": (
        re.compile(r"emb_params|string_to_(param|token)\b.*|clip_[lg]|<.+>"),
        "its words belong to the tokenizer; load it with pipe.load_textual_inversion",
    ),
    "an IP-Adapter": (re.compile(r"(image_proj|ip_adapter)\..+"), "load it with pipe.load_ip_adapter"),
    "VeRA": (re.compile(r".+\.vera_(lambda_[bd]|[AB])\b.*"), "its projections are drawn by peft; merge it there"),
}
"""What else lies about as weights files, by a key, and what to do with it."""
_ALIASES = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "lora.down": "down",
    "lora.up": "up",
    "dora_scale": "magnitude",
    "lora_magnitude_vector": "magnitude",
}
_LISTED = 5


@dataclass(frozen=True)
class Foreign:
    """What a file holds.

    Attributes:
        kind: `KronA`, `LoRA`, `LoKr`, `LoHa`, `full difference`, or several, joined.
        changes: component to module to change.
        metadata: the texts of the file's header, from whoever wrote it.
    """

    kind: str
    changes: dict[str, dict[str, Change]]
    metadata: dict[str, str] = field(default_factory=dict)


def read(path: Path, *, kind: Kind | None = None) -> Foreign:
    """The changes in a weights file.

    Args:
        path: a safetensors file, or a torch file of plain tensors.
        kind: what an official file is where its shapes fit KronA and LoRA alike.

    Raises:
        InputError: it is damaged, or of no known format; keys are unknown or lack their partner; values are not finite.
    """
    state = weights.read(path)
    metadata = weights.metadata(path) if path.suffix == ".safetensors" else {}
    if not state:
        raise InputError(f"{path.name} holds no tensors")
    changes = parse(state, where=path.name, kind=kind)
    return Foreign(describe(state, changes), changes, metadata)


def parse(
    state: Mapping[str, Tensor],
    *,
    scale: Scale | None = None,
    where: str = "the file",
    kind: Kind | None = None,
) -> dict[str, dict[str, Change]]:
    """Changes by component and module from tensors under any known names.

    Raises:
        InputError: see `read`.
    """
    changes: dict[str, dict[str, Change]] = {}
    theirs = {key: value for key, value in state.items() if processor_keys.is_key(key)}
    if theirs:
        changes = _from_official(processor_keys.parse(theirs), kind, where)
    groups: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, pattern in _UNREAD.items():
        if known_key := next((key for key in state if pattern.fullmatch(key)), None):
            raise InputError(f"{where} is {name} ({known_key}), which takes its base; merge it there with its own tool")
    for name, (pattern, what) in _NO_ADAPTER.items():
        if known_key := next((key for key in state if pattern.fullmatch(key)), None):
            raise InputError(f"{where} is {name} ({known_key}): {what}")
    words = [key for key in state if key.startswith("bundle_emb.")]
    if words:
        print(f"{where}: left out {len(words)} embeddings of words, e.g. {words[0]}", file=sys.stderr, flush=True)
    norms = [key for key in state if _NORM.fullmatch(key)]
    if norms:
        print(f"{where}: left out {len(norms)} changes of norms, e.g. {norms[0]}", file=sys.stderr, flush=True)
    for key, value in state.items():
        if key in theirs or key in norms or key in words:
            continue
        match = _PART.fullmatch(key)
        if match is None:
            unknown.append(key)
            continue
        part = match[2].replace(".default", "").removesuffix(".weight")
        groups.setdefault(match[1], {})[_ALIASES.get(part, part)] = value
    if unknown:
        raise InputError(f"{where}: {len(unknown)} keys of no known format: {', '.join(unknown[:_LISTED])}")
    broken = [key for key, value in state.items() if not torch.isfinite(value.float()).all()]
    if broken:
        raise InputError(f"{where}: {len(broken)} tensors hold NaN or Inf, e.g. {broken[0]}; the file is damaged")
    for name, parts in groups.items():
        component, module = native(name)
        known = None if scale is None else partial(scale, name)
        change = change_of(parts, f"{where}: {name}", known)
        flux = component == "transformer" and flux_names.is_name(module)
        found = flux_names.split(module, change, f"{where}: {name}") if flux else {module: change}
        changes.setdefault(component, {}).update(found)
    return changes


def change_of(
    parts: Mapping[str, Tensor], where: str = "the layer", scale: Callable[[int], float | None] | None = None
) -> Change:
    """The change that one module's tensors make.

    Args:
        parts: tensors by kohya's and LyCORIS's names of parts; `down` and `up` for LoRA's two.
        where: for messages.
        scale: rank to alpha / rank, where not the file's own `alpha` tells it.

    Raises:
        InputError: a partner is missing, or the form cannot be read; says what it is and what to do.
    """
    found = {name: value.float() for name, value in parts.items()}
    alpha = found.pop("alpha", None)

    def scaling(rank: int) -> float:
        given = scale(rank) if scale else None
        return given if given is not None else 1.0 if alpha is None else float(alpha) / rank

    odd = next((form for part, form in _ODD.items() if part in found), None)
    if odd:
        raise InputError(f"{where} is {odd}, which cannot be read on its own; merge it into its base with its own tool")
    if "down" in found or "up" in found:
        _need(found, ("down", "up"), where)
        magnitude = found.get("magnitude")
        if magnitude is not None and magnitude.numel() != len(found["up"]):
            raise InputError(f"{where} is DoRA over the weight's columns, which no adapter here does; merge it there")
        flat = None if magnitude is None else magnitude.flatten()
        return LowRank(found["down"], found["up"], scaling(found["down"].shape[0]), flat)
    if "magnitude" in found:
        raise InputError(f"{where} is DoRA of another method than LoRA; merge it into its base with its own tool")
    if any(part.startswith("lokr_") for part in found):
        return _lokr(found, scaling, where, always=scale is not None)
    if any(part.startswith("hada_") for part in found):
        _need(found, ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), where)
        w1_a, w1_b, w2_a, w2_b = (found[f"hada_w{n}_{half}"] for n in (1, 2) for half in "ab")
        return Hadamard(w1_a, w1_b, w2_a, w2_b, scaling(w1_b.shape[0]))
    if "diff_b" in found:
        raise InputError(f"{where} changes a bias, which no adapter here does; use the merged model instead")
    _need(found, ("diff",), where)
    return Dense(found["diff"])


_ODD = {
    "lora_mid": "LoRA of a convolution with a Tucker core",
    "lokr_t1": "LoKr with a Tucker core",
    "lokr_t2": "LoKr with a Tucker core",
    "hada_t1": "LoHa with a Tucker core",
    "hada_t2": "LoHa with a Tucker core",
}


def _lokr(parts: Mapping[str, Tensor], scaling: Callable[[int], float], where: str, *, always: bool) -> Change:
    """LoKr with whole or decomposed factors; a convolution's becomes a difference entry by entry."""
    ranks = []
    factors = []
    for name in ("lokr_w1", "lokr_w2"):
        if name in parts:
            factors.append(parts[name])
            continue
        _need(parts, (f"{name}_a", f"{name}_b"), where)
        ranks.append(parts[f"{name}_b"].shape[0])
        right = parts[f"{name}_b"]
        factors.append((parts[f"{name}_a"] @ right.flatten(1)).reshape(-1, *right.shape[1:]))
    # peft scales by alpha / r whatever the form; then `scaling` ignores its argument.
    factor = scaling(ranks[-1] if ranks else 1) if ranks or always else 1.0
    first, second = factors
    if second.dim() == 2:
        return Kronecker(first, second, factor)
    first = first.reshape(*first.shape, *[1] * (second.dim() - 2))
    return Dense(factor * torch.kron(first, second.contiguous()))


def _from_official(
    pairs: Mapping[Any, Mapping[str, Pair]], kind: Kind | None, where: str
) -> dict[str, dict[str, Change]]:
    kind = kind or kind_of_file(pairs, where)
    made: dict[str, dict[str, Change]] = {}
    for component, modules in pairs.items():
        for module, pair in modules.items():
            _, name = native(f"{component}.{module}")
            down, up = pair.down.float(), pair.up.float()
            made.setdefault(component, {})[name] = (
                LowRank(down, up) if kind == "lora" else Kronecker(down.T.contiguous(), up, official=True)
            )
    return made


def describe(state: Mapping[str, Tensor], changes: Mapping[str, Mapping[str, Change]]) -> str:
    """What people call the methods in a file."""
    kinds = []
    for mark, name in (("lokr_", "LoKr"), ("hada_", "LoHa"), (".diff", "full difference")):
        if any(mark in key for key in state):
            kinds.append(name)
    found = {type(change) for modules in changes.values() for change in modules.values()}
    if LowRank in found:
        loras = [c for modules in changes.values() for c in modules.values() if isinstance(c, LowRank)]
        kinds.append("DoRA" if any(change.magnitude is not None for change in loras) else "LoRA")
    if Kronecker in found and "LoKr" not in kinds:
        kinds.append("KronA")
    return " and ".join(kinds)


def _need(parts: Mapping[str, Tensor], names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if name not in parts]
    if missing:
        raise InputError(f"{where} has {', '.join(sorted(parts))} but not {', '.join(missing)}; the file is incomplete")
