"""The methods there are, by name: peft's own and ours, which are put into peft's tables as if peft shipped them.

peft refuses a method whose name is no member of its `PeftType` enum, so `register_tuner` adds the member first
(extending the enum keeps transformers' own `add_adapter`, `get_model_status` and peft's error paths working, which a
plain string in the tables does not). A later Python or peft may forbid that; then the tables are filled by hand.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTuner
from peft.utils import PeftType, register_peft_method
from torch import nn

from suite.adapters.naming import suggest
from suite.errors import InputError, one_line

Kind = Literal["reparameterized", "additive", "selective", "prompt", "representation"]


@dataclass(frozen=True)
class MethodInfo:
    """What a method declares about itself; the contract test holds it to every word.

    Attributes:
        name: the name that `attach` takes.
        kind: the family it belongs to; of our own methods, the folder that its file stands in.
        paper: where it is described (arXiv number or a title); empty where nothing is cited.
        trainable: how many numbers train, of `in`, `out` and the method's settings a layer, or of `hidden` and
            `layers` a block or model; in words where that is no formula.
        source: who implements it, `suite` (or a package that builds on it) or `peft`.
        in_place: `attach` returns the very model it was given; False: a `PeftModel` around it.
        identity_at_start: a fresh adapter changes no output.
        mergeable: it can be folded into the base weights, whatever its settings; a config's `no_merging` knows better.
        quantizable: it works over 4-bit bases.
        multi_adapter: several adapters of it can sit on one model and be switched.
        scalable: it can act at any strength, not only wholly or not at all.
        by_row: the rows of a batch can have adapters of their own.
        half: its forward runs with its parameters in the half precision of the base, without autocast.
        layers: the layer types it adapts.
        live: config fields that may differ between adapters that are swapped for each other: numbers that a forward
            reads, no sizes. Our configs mark theirs by `metadata={"live": True}`.
        exchanges: its wrapper exchanges modules to switch, and trains the parameters whose own names start so.
        procedure: what `suite.training` must do for it, by a name among its procedures or as `package.module:Class`.
        additive: what it changes of a weight is the sum of the weight and its layer's `get_delta_weight`.
        reads_weight: its forward takes the layer's weight instead of calling the layer, so that what another method
            trains inside that weight would get a wrong gradient; the two are refused on one layer.
    """

    name: str
    kind: Kind | None = None
    paper: str = ""
    source: Literal["suite", "peft"] = "suite"
    in_place: bool = True
    identity_at_start: bool = True
    mergeable: bool = True
    quantizable: bool = False
    multi_adapter: bool = True
    scalable: bool = False
    by_row: bool = False
    half: bool = True
    layers: tuple[str, ...] = ("Linear",)
    live: tuple[str, ...] = ()
    exchanges: str = ""
    procedure: str | None = None
    additive: bool = False
    reads_weight: bool = False
    trainable: str = ""


_METHODS: dict[str, MethodInfo] = {}


def methods() -> dict[str, MethodInfo]:
    """Every method that `attach` knows, by name."""
    return dict(sorted(_METHODS.items()))


def method_info(name: str) -> MethodInfo:
    """What the method `name` declares.

    Raises:
        InputError: no such method; the message names the nearest.
    """
    if name not in _METHODS:
        raise InputError(f"unknown adapter method {name!r}{suggest(name, _METHODS)} (`suite methods` lists all)")
    return _METHODS[name]


def method_of(layer: nn.Module) -> MethodInfo | None:
    """What the method of a tuner layer declares; None for a layer of a package that registered none."""
    name = getattr(layer, "method", None)
    if name is None:
        places = (kind.__module__.partition("peft.tuners.") for kind in type(layer).__mro__)
        name = next((rest.split(".")[0] for before, found, rest in places if found and not before), "")
    return _METHODS.get(name)


def kind_of_method(info: MethodInfo, module: str) -> Kind:
    """The family of a method whose file is `module`: its folder, or what it states where it is no file of ours.

    Raises:
        ValueError: it states another than its folder, or none at all.
    """
    inside = module.partition("suite.adapters.methods.")[2]
    kind = inside.split(".")[0] if inside else info.kind
    if kind not in get_args(Kind) or info.kind not in (None, kind):
        raise ValueError(f"method {info.name!r}: kind {info.kind!r} is none, or not that of its folder ({kind})")
    return cast(Kind, kind)


def declare(info: MethodInfo) -> None:
    """Enter what a method declares. Declaring the same again is allowed, something else under its name is not."""
    known = _METHODS.setdefault(info.name, info)
    if known != info:
        raise ValueError(f"method {info.name!r} is already declared, differently: {known}")


def register_tuner(
    config_class: type[PeftConfig], tuner_class: type[BaseTuner] | type[BasePromptEncoder], info: MethodInfo
) -> None:
    """Put a tuner of ours into peft under `info.name`, so that peft's whole API works on it. May be called twice.

    Args:
        config_class: the method's config; its `__post_init__` sets `peft_type` by `peft_type_of(info.name)`.
        tuner_class: the method's tuner, whose `prefix` must be `f"{info.name}_"`.
        info: what the method declares.

    Raises:
        ValueError: peft already has another config under this name (a newer peft, or another package).
    """
    peft_type = _extend_peft_types(info.name)
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)
    if known is None:
        _fill_tables(peft_type, config_class, tuner_class, info.name)
    elif known is not config_class and _origin(known) != _origin(config_class):
        raise ValueError(f"peft already has a method {info.name!r}: {known.__module__}.{known.__qualname__}")
    declare(info)


def peft_type_of(name: str) -> PeftType | str:
    """The value of `PeftConfig.peft_type` for a method name: the enum member, or a string in the fallback."""
    return PeftType.__members__.get(name.upper(), name.upper())


def method_name(peft_type: PeftType | str) -> str:
    """The method that a config's `peft_type` names."""
    return str(getattr(peft_type, "value", peft_type)).lower()


def _origin(config_class: type) -> tuple[str, str]:
    return config_class.__module__, config_class.__qualname__


def _extend_peft_types(name: str) -> PeftType | str:
    value = name.upper()
    if value in PeftType.__members__:
        return PeftType[value]
    try:
        return _new_member(value)
    except (AttributeError, TypeError) as error:
        for table in (PeftType._member_map_, PeftType._value2member_map_):
            table.pop(value, None)
        warnings.warn(
            f"peft's list of methods cannot be extended ({error}); {name!r} is entered as a plain name: "
            "transformers' own add_adapter and peft's status report will not know it",
            RuntimeWarning,
            stacklevel=3,
        )
        return value


def _new_member(value: str) -> PeftType:
    """Add a real member to peft's enum; `Enum` has no public way to."""
    member = str.__new__(PeftType, value)
    member._name_ = value
    member._value_ = value
    member._sort_order_ = len(PeftType._member_names_)
    member.__objclass__ = PeftType
    PeftType._member_map_[value] = member
    PeftType._value2member_map_[value] = member
    PeftType._member_names_.append(value)
    type.__setattr__(PeftType, value, member)
    return member


def _fill_tables(peft_type: PeftType | str, config_class: type[PeftConfig], tuner_class: Any, name: str) -> None:
    if isinstance(peft_type, PeftType):
        register_peft_method(name=name, config_cls=config_class, model_cls=tuner_class)
        return
    PEFT_TYPE_TO_CONFIG_MAPPING[peft_type] = config_class
    PEFT_TYPE_TO_TUNER_MAPPING[peft_type] = tuner_class
    PEFT_TYPE_TO_PREFIX_MAPPING[peft_type] = f"{name}_"


def build_config(method: str, fields: Mapping[str, Any], targets: list[str] | str | None = None) -> PeftConfig:
    """The peft config of a method from keyword arguments.

    Args:
        method: name of the method.
        fields: values for the config's own fields.
        targets: `target_modules`: endings of module names, or one regular expression over whole names.

    Raises:
        InputError: unknown method or field (with the nearest name), or a value that the method refuses.
    """
    method_info(method)
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(method)]
    allowed = {field.name for field in dataclasses.fields(config_class)} - {"peft_type", "auto_mapping", "peft_version"}
    values = dict(fields)
    if targets is not None:
        if "target_modules" not in allowed:
            raise InputError(f"{method}: this method has no targets, it acts on the whole model; leave `targets` out")
        values["target_modules"] = targets if isinstance(targets, str) else list(targets)
    for key in values:
        if key not in allowed:
            raise InputError(f"{method}: unknown setting {key!r}{suggest(key, allowed)}")
    try:
        return config_class(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(f"{method}: {one_line(error)}") from error
