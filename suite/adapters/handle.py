"""What a model knows about the adapters on it: the attachments, which are active, and the base they were made for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from suite.adapters.fingerprint import Identity
from suite.adapters.naming import suggest
from suite.adapters.registry import method_info, method_of
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.adapters.biases import Biases

ATTRIBUTE = "_suite_adapters"


DERIVED = "suite:derived"
ROWS = "adapter_of_row"
"""The context's key for the adapters of every row of a batch: a name or several, each."""


class Context:
    """Side information for one forward (point centres, token types, spatial size), shared by all layers of a model."""

    def __init__(self) -> None:
        self.values: MappingProxyType[str, Any] = MappingProxyType({})

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise KeyError(f"this forward needs {name!r}: run it inside suite.adapters.context(model, {name}=...)")
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value called `name`, or `default`."""
        return self.values.get(name, default)

    def derived(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, without gradient, made once for all layers of this forward: bases, neighbourhoods."""
        cache = self.values.get(DERIVED, {})
        if key not in cache:
            with torch.no_grad():
                cache[key] = make()
        return cache[key]

    @contextmanager
    def holding(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Hold these values, and no others, inside the block."""
        previous, self.values = self.values, MappingProxyType(dict(values))
        try:
            yield
        finally:
            self.values = previous

    @contextmanager
    def narrowed(self, rows: Sequence[int]) -> Iterator[None]:
        """Inside the block the batch consists of some of its rows only."""
        asked = self.values.get(ROWS)
        if asked is None:
            yield
            return
        with self.holding({**self.values, ROWS: tuple(asked[row] for row in rows), DERIVED: {}}):
            yield

    def __reduce__(self) -> tuple[type[Context], tuple[()]]:
        # The values belong to a forward that is running on the original: a copy, deep or pickled, starts without.
        return Context, ()


@dataclass(frozen=True)
class Member:
    """One method of an attachment and the name that its tensors carry inside the model."""

    method: str
    adapter: str


@dataclass
class Attachment:
    """What one `attach` or `load` put on the model: methods in order, innermost first."""

    name: str
    members: list[Member]
    trainable: bool
    tie_groups: list[list[str]] = field(default_factory=list)


@dataclass
class Handle:
    """The adapters of one model. Holds names only, so a deepcopy of the model carries a handle of its own."""

    attachments: dict[str, Attachment] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    base: Identity = field(default_factory=Identity)
    context: Context = field(default_factory=Context)
    biases: dict[str, Biases] = field(default_factory=dict)
    checkpointed: bool = False
    found: dict[tuple[str, bool], tuple[str, ...]] = field(default_factory=dict)

    def attachment(self, name: str | None) -> Attachment:
        """The attachment called `name`, or the only active one for None.

        Raises:
            InputError: there is no such attachment, or None while not exactly one is active.
        """
        if name is None:
            if len(self.active) != 1:
                state = f"{len(self.active)} are active ({', '.join(self.active)})" if self.active else "none is active"
                raise InputError(f"adapter name missing: {state}; pass name= one of {sorted(self.attachments)}")
            name = self.active[0]
        if name not in self.attachments:
            known = ", ".join(sorted(self.attachments)) or "none"
            raise InputError(f"no adapter {name!r} on this model{suggest(name, self.attachments)} (attached: {known})")
        return self.attachments[name]

    def active_adapters(self, active: Sequence[str] | None = None) -> list[str]:
        """The tensor-level adapter names that take part in the forward (with others active: would), in attach order."""
        return [
            member.adapter
            for name, attachment in self.attachments.items()
            if name in (self.active if active is None else active)
            for member in attachment.members
        ]


def handle_of(model: nn.Module) -> Handle:
    """The handle of a model that carries adapters.

    Raises:
        InputError: nothing was attached to this model.
    """
    handle = getattr(model, ATTRIBUTE, None)
    if handle is None:
        raise InputError(f"{type(model).__name__} carries no adapters: call suite.adapters.attach or load first")
    return handle


def base_of(model: nn.Module) -> nn.Module:
    """The model inside peft's wrapper, or the model itself."""
    if not isinstance(model, PeftModel):
        return model
    return model.base_model if model._is_prompt_learning else model.base_model.model


def public_name(model: nn.Module, name: str) -> str:
    """The name that a tensor or module of `model` has in the bare base, whatever adapters are around it."""
    kept = []
    module: Any = model
    for part in name.split("."):
        around = isinstance(module, BaseTunerLayer) and part == "base_layer"
        around |= isinstance(module, AuxiliaryTrainingWrapper) and part in ("original_module", "token_adapter")
        if not around:
            kept.append(part)
        module = getattr(module, part, None)
    return ".".join(kept)


def adapter_layers(model: nn.Module) -> list[tuple[str, BaseTunerLayer]]:
    """Every peft tuner layer of the model with its dotted name, outermost first."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def remembered(model: nn.Module, what: str, wanted: Callable[[nn.Module], bool]) -> list[Any]:
    """The modules for which `wanted` holds: looked for once, and anew after adapters came, went or were switched.

    What every step of a training asks is asked so: walking all modules of a large model takes milliseconds.

    Args:
        what: a name for what is wanted.
    """
    handle: Handle | None = getattr(model, ATTRIBUTE, None)
    if handle is None:
        return [module for module in model.modules() if wanted(module)]
    key = what, isinstance(model, PeftModel)  # in peft's wrapper and without it, names differ
    if key not in handle.found:
        handle.found[key] = tuple(name for name, module in model.named_modules() if wanted(module))
    return [model.get_submodule(name) for name in handle.found[key]]


def layers(model: nn.Module, method: str | None = None, name: str | None = None) -> list[tuple[str, Any]]:
    """The tuner layers on a model with their dotted names: what a procedure reads scores from and sets masks on.

    Args:
        model: a model with adapters.
        method: of this method alone.
        name: of this attached adapter alone.

    Raises:
        InputError: there is no such adapter.
    """
    handle = handle_of(model)
    chosen = handle.attachments.values() if name is None else [handle.attachment(name)]
    members = [m for attachment in chosen for m in attachment.members if method in (None, m.method)]
    wanted = {(member.method, member.adapter) for member in members}
    return [
        (place, layer)
        for place, layer in adapter_layers(model)
        if (info := method_of(layer)) and any((info.name, adapter) in wanted for adapter in adapters_on(layer))
    ]


def procedures(model: nn.Module) -> list[str]:
    """What training must do for the trainable, active adapters of a model, as their methods declare it."""
    handle: Handle | None = getattr(model, ATTRIBUTE, None)
    if handle is None:
        return []
    training = [handle.attachments[name] for name in handle.active if handle.attachments[name].trainable]
    needed = (method_info(member.method).procedure for attachment in training for member in attachment.members)
    return [*dict.fromkeys(name for name in needed if name is not None)]


def base_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The base's own modules by the names that they have without adapters, also where adapters are around them."""
    found: dict[str, nn.Module] = {}

    def visit(name: str, module: nn.Module) -> None:
        while isinstance(module, BaseTunerLayer) and hasattr(module, "base_layer"):
            module = module.base_layer
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            return  # it trains as a whole, or belongs to an adapter
        found[name] = module
        for child, inside in module.named_children():
            visit(f"{name}.{child}" if name else child, inside)

    visit("", model)
    return found


def check_unmerged(model: nn.Module, doing: str, adapters: set[str] | None = None) -> None:
    """Refuse to do something while adapters (or only those of a set) are merged.

    Raises:
        InputError: one is.
    """
    merged = {adapter for _, layer in adapter_layers(model) for adapter in layer.merged_adapters}
    if adapters is not None:
        merged &= adapters
    if merged:
        raise InputError(f"adapters {sorted(merged)} are merged into the weights: call unmerge before {doing}")


def auxiliary_layers(model: nn.Module) -> list[AuxiliaryTrainingWrapper]:
    """peft's wrappers for whole trained modules (`modules_to_save`) and trained tokens."""
    return [module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]


def adapters_on(layer: BaseTunerLayer) -> set[str]:
    """The adapter names that have tensors on this layer."""
    return set(layer._get_available_adapters()) | set(layer._all_available_adapter_names())
