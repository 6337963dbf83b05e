"""What each preset attaches to MusicGen's language model, where, and how wide.

Exploring Adapter Design Tradeoffs for Low Resource Music Generation, arXiv 2506.21298: linear, convolution and
transformer adapters of 2 to 70 million parameters. The paper's placements that exist in its code are others; these
follow its figure. Beside them any method of the core on the projections, for comparison.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from domains.music.model.musicgen import MusicGenLM
from suite import adapters
from suite.adapters.methods.additive.attention_adapter import AttentionAdapterConfig, AttentionBranch
from suite.adapters.methods.additive.conv_adapter import ConvAdapterConfig, ConvBranch
from suite.adapters.methods.additive.linear_adapter import LinearAdapterConfig, LinearBranch
from suite.adapters.section import AdapterSection
from suite.errors import InputError

_DECODER = r"decoder\.model\.decoder"
PROJECTIONS = rf"{_DECODER}\.layers\.\d+\.((self_attn|encoder_attn)\.(q_proj|k_proj|v_proj|out_proj)|fc1|fc2)"

PLACEMENTS: Mapping[str, str] = {
    "encoder": "text states after their projection, before padding is zeroed",
    "decoder_out": "the state after the last layer, before the final norm",
    "per_layer": "the state after every layer",
}

SEQUENCE: Mapping[str, str] = {
    "linear": "linear_adapter",
    "conv": "conv_adapter",
    "transformer": "attention_adapter",
}
"""The paper's kinds and the core's methods that they are."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"method": method} for name, method in SEQUENCE.items()},
    "lora": {"method": "lora", "targets": PROJECTIONS, "r": 16, "lora_alpha": 16, "lora_dropout": 0.05},
    "krona": {"method": "krona", "targets": PROJECTIONS, "a1": 32, "a2": 32},
    # On the waveform, as published; sizes of 8, 20, 40 and 70 million are bottlenecks of 125, 312, 625 and 1094.
    "waveform": {"method": "linear_adapter", "targets": "waveform", "bottleneck_size": 32},
    # What a community adapter trains on MusicGen small: about 44 million parameters.
    "lora-r128": {
        "method": "lora",
        "targets": rf"{_DECODER}\.layers\.\d+\.((self_attn|encoder_attn)\.out_proj|fc1|fc2)",
        "r": 128,
        "lora_alpha": 128,
    },
}

_OWN = ("placement", "target_params")
_OF_LORA = ("r", "lora_alpha", "lora_dropout")
"""What configurations with LoRA say; a preset that is put in its place alone leaves them there."""


@dataclass(frozen=True)
class Width:
    """So many places in a row with a bottleneck of this size."""

    places: int
    bottleneck: int


def attach_section(model: MusicGenLM, section: AdapterSection, *, name: str = "default") -> nn.Module:
    """Put on a language model what a recipe's section says; return the model to use.

    Raises:
        InputError: a setting is unknown, a placement is none, or no width has so many parameters.
    """
    return adapters.attach(model, *specs(model, section), name=name)


def specs(model: MusicGenLM, section: AdapterSection) -> list[dict[str, Any]]:
    """What `adapters.attach` takes: one entry for each placement, and where layers differ in width for each width."""
    if section.preset not in SEQUENCE and section.method not in SEQUENCE.values():
        section.refuse(_OWN)
        return [section.spec(PRESETS)]
    section.refuse(_OF_LORA)
    spec = section.spec(PRESETS)
    if "targets" in spec:
        section.refuse(_OWN)
        return [spec]
    placements = _placements(spec.pop("placement", "per_layer"))
    target = _number(spec.pop("target_params", None))
    sites = {place: model.config.num_hidden_layers if place == "per_layer" else 1 for place in placements}
    found = []
    for place in placements:
        own = {**spec, **_settings(place, spec["method"])}
        widths = [Width(sites[place], int(spec.get("bottleneck_size", 64)))]
        if target is not None:
            # Placements share the target by their number of places.
            widths = plan(
                own, model.config.hidden_size, sites[place], round(target * sites[place] / sum(sites.values()))
            )
        _tell(widths, model.config.hidden_size, place)
        found += _by_width(own, place, widths)
    return found


def _by_width(spec: Mapping[str, Any], place: str, widths: Sequence[Width]) -> list[dict[str, Any]]:
    """One entry for each width, with the layers that have it."""
    found, first = [], 0
    for width in widths:
        layers = "|".join(str(first + number) for number in range(width.places))
        targets = {
            "encoder": "enc_to_dec_proj",
            "decoder_out": rf"{_DECODER}\.layer_norm",
            "per_layer": rf"{_DECODER}\.layers\.({layers})",
        }[place]
        sized = {"bottleneck_size": width.bottleneck}
        if spec["method"] == SEQUENCE["transformer"]:
            sized["heads"] = _heads(width.bottleneck, spec)
        found.append({**spec, **sized, "targets": targets})
        first += width.places
    return found


def _settings(place: str, method: str) -> dict[str, Any]:
    """What a placement means for a method: the text is known as a whole, the music is not."""
    settings: dict[str, Any] = {"at": "input"} if place == "decoder_out" else {}
    if place == "encoder" and method != SEQUENCE["linear"]:
        settings["causal"] = False
    return settings


def plan(spec: Mapping[str, Any], width: int, places: int, target: int) -> list[Width]:
    """Bottlenecks with which the adapters of `places` sites have `target` parameters, as nearly as can be.

    Where one width for all is too coarse, the first layers are one wider than the others.

    Raises:
        InputError: even the narrowest has more.
    """
    counts = lambda m: parameters(spec, width, m)  # noqa: E731
    if counts(1) * places > 1.01 * target:
        raise InputError(
            f"target_params is {target:,}, and {spec['method']} on {places} places of width {width} has "
            f"{counts(1) * places:,} at least; give more, or the placement decoder_out"
        )
    low, high = 1, 2
    while counts(high) * places < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counts(middle) * places <= target else (low, middle)
    nearest = min((low, high), key=lambda m: abs(counts(m) * places - target))
    if abs(counts(nearest) * places - target) <= 0.01 * target:
        return [Width(places, nearest)]
    wider = round((target - counts(low) * places) / (counts(high) - counts(low)))
    wider = min(max(wider, 0), places)
    return [width_ for width_ in (Width(wider, high), Width(places - wider, low)) if width_.places]


def parameters(spec: Mapping[str, Any], width: int, bottleneck: int) -> int:
    """Parameters of one adapter."""
    settings = tuple(sorted((key, _hashable(value)) for key, value in spec.items() if key in _SIZES))
    return _parameters(str(spec["method"]), width, bottleneck, settings)


_SIZES = ("blocks", "norm", "dilations", "kernel_size", "reduction")
_BRANCHES: Mapping[str, tuple[Any, Any]] = {
    "linear_adapter": (LinearAdapterConfig, LinearBranch),
    "conv_adapter": (ConvAdapterConfig, ConvBranch),
    "attention_adapter": (AttentionAdapterConfig, AttentionBranch),
}


@lru_cache(maxsize=4096)
def _parameters(method: str, width: int, bottleneck: int, settings: tuple[tuple[str, Any], ...]) -> int:
    config_class, branch = _BRANCHES[method]
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in settings}
    if method == SEQUENCE["transformer"]:
        given["heads"] = 1  # the number of heads changes no number of parameters
    with torch.device("meta"):
        made = branch(width, config_class(bottleneck_size=bottleneck, **given))
    return sum(parameter.numel() for parameter in made.parameters())


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _heads(bottleneck: int, spec: Mapping[str, Any]) -> int:
    """The number asked for, or as many as divide the bottleneck, at most 8."""
    if "heads" in spec:
        return int(spec["heads"])
    return next(heads for heads in (8, 4, 2, 1) if bottleneck % heads == 0)


def _placements(wanted: str | Iterable[str]) -> list[str]:
    found = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    for place in found:
        if place not in PLACEMENTS:
            raise InputError(f"recipe.adapter.placement is {place!r}; choose from {', '.join(PLACEMENTS)}")
    if not found:
        raise InputError(f"recipe.adapter.placement names none; choose from {', '.join(PLACEMENTS)}")
    return found


def _number(target: str | float | None) -> int | None:
    """40M, 2.5m, 800k or a plain number."""
    if target is None:
        return None
    match = re.fullmatch(r"([\d_]+(?:\.\d+)?)\s*([kKmM]?)", str(target))
    number = float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()] if match else 0
    if number < 1:
        raise InputError(f"recipe.adapter.target_params is {target!r}; write a number, as 40M or 800k")
    return round(number)


def _tell(widths: Sequence[Width], width: int, place: str) -> None:
    widest = max(w.bottleneck for w in widths)
    if widest > width and place != "per_layer":
        line = (
            f"recipe.adapter: a bottleneck of {widest:,} in states of width {width:,} is none; placement per_layer "
            "spreads so many parameters over the layers"
        )
        print(line, file=sys.stderr, flush=True)
