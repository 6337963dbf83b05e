"""What a stranger's `adapter_config.json` may say, checked before anything is built by it.

Its patterns are matched by `re` inside peft, which has no time limit: one that could take for ever is matched here,
under a limit, and replaced by the plain names that it matches.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex
from peft import PeftConfig
from torch import Tensor, nn

from suite.adapters.handle import base_modules, base_of
from suite.adapters.registry import one_line
from suite.adapters.state import PREFIX
from suite.errors import InputError

SECONDS = 2.0
WIDEST = 2**17  # no layer is wider, so that no rank can be
WHOLE = ("target_modules", "exclude_modules")
LISTS = (*WHOLE, "target_parameters", "modules_to_save", "layers_pattern")
NAMED = {"LORA": "lora_", "IA3": "ia3_"}
"""Methods whose targets may be left out, and how the names of their tensors go on behind the layer's."""
# Starts of peft's LoRA that decompose the base's weights; a loaded adapter's weights come from its file.
COSTLY = ("eva", "orthogonal", "mica")


def check_settings(settings: Mapping[str, Any], fields: Sequence[dataclasses.Field[Any]], file: Path) -> None:
    """Check the raw content of a config against its class's fields.

    Raises:
        InputError: a number is none or not finite, a list of names is none, or a pattern is no regular expression.
    """
    for name, value in _numbers(settings):
        if not math.isfinite(value):
            raise InputError(f"{file}: {name} is {value}, not a finite number")
    adaptive = any(field.name == "init_r" for field in fields)  # AdaLoRA lists which of them stay
    for field in fields:
        if field.name in settings and not (adaptive and _is_pattern_of_ranks(field.name, settings[field.name])):
            _check_kind(field, settings[field.name], file)
    for name, pattern in _patterns(settings):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(f"{file}: {name} {pattern!r} is no regular expression ({one_line(error)})") from error


def _is_pattern_of_ranks(name: str, value: Any) -> bool:
    """Whether a setting says by layer which of its ranks are left."""
    lists = value.values() if name == "rank_pattern" and isinstance(value, dict) else [None]
    return all(isinstance(stay, list) and all(isinstance(here, bool) for here in stay) for stay in lists)


def _check_kind(field: dataclasses.Field[Any], value: Any, file: Path) -> None:
    """A number where the default is one, names where names belong; peft checks little of it."""
    if value is not None and (wanted := _wanted_instead(field.name, field.default, value)):
        raise InputError(f"{file}: {field.name} is {value!r}, not {wanted}")


def _wanted_instead(name: str, default: Any, value: Any) -> str:
    """What a setting should be and is not, in words; empty where it is."""
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    if number and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return "a number"
    ranks = {"r": [value], "rank_pattern": [*value.values()] if isinstance(value, dict) else []}.get(name, [])
    if not all(isinstance(rank, (int, float)) and rank == int(rank) and 0 <= rank <= WIDEST for rank in ranks):
        return f"a whole number from 0 to {WIDEST:,}"
    if name in LISTS and not all(isinstance(part, str) for part in (value if isinstance(value, list) else [value])):
        return "a list of names"
    if name.endswith("_pattern") and name != "layers_pattern":
        kinds = (int, float) if name in ("rank_pattern", "alpha_pattern") else (int, float, str, list)
        if not isinstance(value, dict) or not all(isinstance(part, kinds) for part in value.values()):
            return "an object of numbers by module"
    return ""


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield name, value
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _numbers(child, f"{name}.{key}" if name else str(key))


def _patterns(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if name in WHOLE and isinstance(value, str):
            yield name, value
        elif name == "layers_pattern":
            yield from ((name, part) for part in (value if isinstance(value, list) else [value]) if part)
        elif name.endswith("_pattern") and isinstance(value, Mapping):
            yield from ((name, key) for key in value)


def could_take_for_ever(pattern: str) -> bool:
    """Whether `re` may need more than cubic time: a repeated group, or more than three repetitions in a row."""
    bare = re.sub(r"\\.|\[\^?\]?(\\.|[^\]\\])*\]", "x", pattern)
    return bool(re.search(r"\)[*+{]", bare)) or len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > 3


def tame(config: PeftConfig, model: nn.Module, source: str) -> None:
    """Replace what is slow in a loaded config by what means the same on this model.

    Raises:
        InputError: a pattern takes too long to match, or the config rebuilds the base.
    """
    if getattr(config, "layer_replication", None):
        raise InputError(f"{source}: layer_replication rebuilds the base, which could not be taken back: not supported")
    if getattr(config, "init_lora_weights", None) in COSTLY:
        config.init_lora_weights = True
    names = [name for name in base_modules(base_of(model)) if name]
    for field in WHOLE:
        pattern = getattr(config, field, None)
        if isinstance(pattern, str) and could_take_for_ever(pattern):
            setattr(config, field, set(_matching(pattern, names, f"{source}: {field}")))
    for field in (field.name for field in dataclasses.fields(config) if field.name.endswith("_pattern")):
        value = getattr(config, field)
        if isinstance(value, dict) and any(map(could_take_for_ever, value)):
            setattr(config, field, _plain(value, names, f"{source}: {field}"))
            continue
        listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if any(map(could_take_for_ever, listed)):
            raise InputError(f"{source}: {field} {value!r} is too costly to match: name the block list plainly")


def name_targets(config: PeftConfig, state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Let a config say which layers its tensors are of, where it left that to the library's defaults of its time.

    Those defaults change, and some families have none; what the tensors are called does not.
    """
    if (
        config.peft_type not in NAMED
        or getattr(config, "target_modules", None)
        or getattr(config, "target_parameters", 0)
    ):
        return
    names = {name for name in base_modules(base_of(model)) if name}
    found: dict[str, bool] = {}
    for key, tensor in state.items():
        path = key.removeprefix(PREFIX).split(".")
        part = next((at for at, word in enumerate(path) if word.startswith(NAMED[config.peft_type])), 0)
        if (name := ".".join(path[:part])) in names:
            found[name] = len(tensor.shape) == 2 and tensor.shape[0] == 1
    if not found:
        return
    config.target_modules = set(_endings(found, names))
    if config.peft_type == "IA3" and not config.feedforward_modules:
        inputs = [name for name, of_input in found.items() if of_input]
        config.feedforward_modules = set(_endings(inputs, names)) if inputs else set()


def _endings(wanted: Collection[str], names: Collection[str]) -> list[str]:
    """The shortest endings that name these modules and no other."""
    for depth in range(1, 4):
        endings = {".".join(name.split(".")[-depth:]) for name in wanted}
        if {name for name in names if any(f".{name}".endswith(f".{one}") for one in endings)} == set(wanted):
            return sorted(endings)
    return sorted(wanted)


def _matching(pattern: str, names: Sequence[str], what: str) -> list[str]:
    try:
        compiled = regex.compile(pattern)
        return [name for name in names if compiled.fullmatch(name, timeout=SECONDS / len(names) + 0.05)]
    except (TimeoutError, regex.error) as error:
        raise InputError(f"{what} {pattern!r} takes too long to match: name the modules plainly") from error


def _plain(patterns: Mapping[str, Any], names: Sequence[str], what: str) -> dict[str, Any]:
    """The same settings by whole names, the longest first: peft takes a key for an ending of names too."""
    found: dict[str, Any] = {}
    for pattern, value in patterns.items():
        for name in _matching(rf"(.*\.)?({pattern})", names, what):
            found.setdefault(re.escape(name), value)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))
