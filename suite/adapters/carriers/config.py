"""The config fields that every method of ours has, and the check of those that are one of a few values."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, cast, get_args, get_origin, get_type_hints

from peft import PeftConfig

from suite.adapters.registry import method_info, peft_type_of

CORE_VERSION = 1


@cache
def choices(config_class: Hashable) -> dict[str, tuple[Any, ...]]:
    """The fields of a config that are one of a few values, as their annotation (`Literal`) says."""
    hints = get_type_hints(config_class)
    fields = (field.name for field in dataclasses.fields(cast(Any, config_class)))
    return {name: get_args(hints[name]) for name in fields if get_origin(hints[name]) is Literal}


def check_choices(config: PeftConfig) -> None:
    """Refuse a value that a field's `Literal` does not list.

    Raises:
        ValueError: a field has one.
    """
    for name, allowed in choices(cast(Hashable, type(config))).items():
        if getattr(config, name) not in allowed:
            *others, last = map(repr, allowed)
            options = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"{name} {getattr(config, name)!r} must be {options}")


@dataclass
class TunerConfig(PeftConfig):
    """Fields that the config of every method of ours has."""

    method: ClassVar[str] = ""

    target_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Endings of module names, or one regular expression over whole names."}
    )
    exclude_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "The same, for modules to leave out."}
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": ("Whole modules that train along and are saved (peft's mechanism; `train=` reaches parameters).")
        },
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "Indices of the blocks to adapt; None for all."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "Name of the block list that those indices count."}
    )
    bias: str = field(
        default="none", metadata={"help": "Biases of the base that train along: `none`, `all` or `<method>_only`."}
    )
    init_weights: bool = field(
        default=True,
        metadata={
            "help": "False starts at random, away from the identity (tests of the machinery need it).",
            "live": True,
        },
    )
    core_version: int = field(
        default=CORE_VERSION, metadata={"help": "Raised when the meaning of a saved field changes."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type_of(self.method)
        check_choices(self)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        if self.core_version > CORE_VERSION:
            raise ValueError(f"core_version {self.core_version} is newer than this package knows ({CORE_VERSION})")

    def no_merging(self) -> str | None:
        """Why an adapter with these settings cannot be merged; None where it can. What its method declares, mostly."""
        return None if method_info(self.method).mergeable else "it is no change of the weights"

    def to_dict(self) -> dict[str, Any]:
        """What is written down. Places that a plan chose are tensors of the adapter's file, and no settings."""
        planned = {field.name for field in dataclasses.fields(self) if field.metadata.get("planned")}
        kept: dict[str, Any] = super().to_dict()
        return {name: value for name, value in kept.items() if name not in planned}
