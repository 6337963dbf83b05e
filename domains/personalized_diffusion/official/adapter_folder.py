"""Our adapter folders to changes and back. Neither way needs the base: shapes and names are in the files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.official.changes import Change, Changes, Hadamard, Kronecker, LowRank, folded
from domains.personalized_diffusion.official.naming import native
from domains.personalized_diffusion.official.weights_files import parse
from suite import adapters
from suite.adapters.fingerprint import Identity
from suite.adapters.handle import handle_of
from suite.adapters.storage import MANIFEST, member_parts, read_config, read_weights
from suite.errors import InputError

Number = TypeVar("Number", int, float)
_PREFIX = "base_model.model."
NEEDS_BASE = ("svdiff", "parameters")
"""Methods whose files say what to do to a base rather than what to add to it."""


@dataclass(frozen=True)
class Stored:
    """An adapter folder.

    Attributes:
        method: the name of its method, several joined by `+`.
        changes: what it does, by component and module; empty where that takes the base.
        manifest: its `suite.json`. facts: what the recipe recorded there: family, trigger, training.
        config: the settings of its first method.
    """

    method: str
    changes: dict[str, dict[str, Change]]
    manifest: Mapping[str, Any]
    facts: Stated
    config: Any

    @property
    def base(self) -> str | None:
        """Reference of the base that it was trained on, where it says one."""
        reference: str | None = self.manifest["base"].get("reference")
        return reference


def read(folder: Path) -> Stored:
    """Read an adapter folder.

    Raises:
        InputError: it is none, is damaged, or its method changes no weights.
    """
    manifest = adapters.read_manifest(folder)
    facts = Stated.from_dict(manifest["domain"], folder / MANIFEST)
    changes: dict[str, dict[str, Change]] = {}
    configs, methods = [], []
    for part in member_parts(folder, manifest):
        config = read_config(part)
        method = str(getattr(config.peft_type, "value", config.peft_type)).lower()
        configs.append(config)
        methods.append(method)
        if method in NEEDS_BASE:
            continue
        for component, modules in _changes_of(method, config, read_weights(part), part).items():
            mine = changes.setdefault(component, {})
            if mine.keys() & modules.keys():
                raise InputError(f"{folder} puts two methods on {next(iter(mine.keys() & modules.keys()))}; merge it")
            mine.update(modules)
    return Stored("+".join(dict.fromkeys(methods)), changes, manifest, facts, configs[0])


def _changes_of(method: str, config: Any, state: Mapping[str, Tensor], where: Path) -> dict[str, dict[str, Change]]:
    if method == "krona":
        return _krona(config, state, where)
    if method not in ("lora", "lokr", "loha"):
        raise InputError(f"{where} is {method}, whose change of the weights has no form that others read")

    def scale(name: str, rank: int) -> float:
        patterns = config.alpha_pattern, config.rank_pattern
        alpha, r = (pattern.get(get_pattern_key(pattern.keys(), name)) for pattern in patterns)
        alpha = (config.lora_alpha if method == "lora" else config.alpha) if alpha is None else alpha
        r = config.r if r is None else r
        return float(alpha / (r**0.5 if getattr(config, "use_rslora", False) else r))

    return parse({key.removeprefix(_PREFIX): value for key, value in state.items()}, scale=scale, where=str(where))


def _krona(config: Any, state: Mapping[str, Tensor], where: Path) -> dict[str, dict[str, Change]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.krona_([ab])", key)
        if match is None:
            raise InputError(f"{where}: {key} is no tensor of KronA; the file is damaged")
        pairs.setdefault(match[1], {})[match[2]] = value.float()
    changes: dict[str, dict[str, Change]] = {}
    for name, pair in pairs.items():
        if len(pair) != 2:
            raise InputError(f"{where}: {name} has only one of its two factors; the file is incomplete")
        component, module = native(name)
        made = Kronecker(pair["a"], pair["b"], config.scaling, config.layout == "official")
        changes.setdefault(component, {})[module] = made
    return changes


def write(
    changes: Changes,
    folder: Path,
    *,
    base: str | None = None,
    facts: Stated | None = None,
    lokr: int | None = None,
) -> Path:
    """Write changes as an adapter folder: KronA if all are Kronecker products of one layout, LoRA if all are low-rank.

    Args:
        changes: what the adapter does.
        folder: where to; replaced if it is there.
        base: reference of the base.
        facts: what the manifest shall say.
        lokr: write Kronecker products as peft's LoKr with this `decompose_factor` instead of KronA.

    Raises:
        InputError: the changes are of several kinds, or differences entry by entry, which are no adapter.
    """
    network = _skeleton(changes)
    joined = {name: change for name, (_, _, change) in _flat(changes).items()}
    kinds = {type(change) for change in joined.values()}
    if kinds == {Kronecker}:
        pairs = {name: c for name, c in joined.items() if isinstance(c, Kronecker)}
        if lokr is None:
            _attach_krona(network, pairs)
        else:
            _attach_lokr(network, pairs, lokr)
    elif kinds == {LowRank}:
        _attach_lora(network, {name: c for name, c in joined.items() if isinstance(c, LowRank)})
    elif kinds == {Hadamard}:
        _attach_loha(network, {name: c for name, c in joined.items() if isinstance(c, Hadamard)})
    else:
        named = " and ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise InputError(f"changes are {named}: give the factors to fit KronA to them, as --factors 4,64")
    # What stands in for the base has nothing but the adapted modules: it says nothing of the base.
    handle_of(network).base = Identity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapters.save(network, folder, base=base, extra=facts.to_dict() if facts else None)


def _flat(changes: Changes) -> dict[str, tuple[str, str, Change]]:
    """Changes by the name that they have in the adapted network: with the component where there are several."""
    several = len(changes) > 1
    return {
        f"{component}.{module}" if several else module: (component, module, change)
        for component, modules in changes.items()
        for module, change in modules.items()
    }


def _skeleton(changes: Changes) -> nn.Module:
    """Modules of the right names and sizes, without weights, for adapters to be attached to."""
    root = nn.Module()
    for name, (_, _, change) in _flat(changes).items():
        owner = root
        *path, last = name.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        out_features, in_features, *kernel = change.shape
        if kernel:
            layer: nn.Module = nn.Conv2d(in_features, out_features, tuple(kernel), bias=False, device="meta")
        else:
            layer = nn.Linear(in_features, out_features, bias=False, device="meta")
        owner.add_module(last, layer)
    return root


def _attach_krona(network: nn.Module, changes: Mapping[str, Kronecker]) -> None:
    layouts = {change.official for change in changes.values()}
    if len(layouts) > 1:
        raise InputError("the changes mix the paper's and the authors' layout; one adapter has one")
    scalings = {change.scaling for change in changes.values()}
    if len(scalings) > 1:
        changes = {name: folded(change) for name, change in changes.items()}
    factors = {name: (int(c.a.shape[0]), int(c.a.shape[1])) for name, c in changes.items()}
    a1, a2 = Counter(factors.values()).most_common(1)[0][0]
    adapters.attach(
        network,
        "krona",
        targets=sorted(changes),
        a1=a1,
        a2=a2,
        a_pattern={re.escape(name): list(pair) for name, pair in factors.items() if pair != (a1, a2)},
        layout="official" if layouts.pop() else "kron",
        scaling=scalings.pop() if len(scalings) == 1 else 1.0,
    )
    for name, change in changes.items():
        layer: Any = network.get_submodule(name)
        layer.set_tensor("a", "default", change.a.contiguous())
        layer.set_tensor("b", "default", change.b.contiguous())


def _attach_lora(network: nn.Module, changes: Mapping[str, LowRank]) -> None:
    relative = {change.magnitude is not None for change in changes.values()}
    if len(relative) > 1:
        raise InputError("some of the changes are DoRA and some are not; one adapter has one kind")
    rank, ranks = _usual({name: change.rank for name, change in changes.items()})
    alpha, alphas = _usual({name: change.scaling * change.rank for name, change in changes.items()})
    adapters.attach(
        network,
        "lora",
        targets=sorted(changes),
        r=rank,
        lora_alpha=alpha,
        rank_pattern=ranks,
        alpha_pattern=alphas,
        use_dora=relative.pop(),
    )
    for name, change in changes.items():
        layer: Any = network.get_submodule(name)
        layer.lora_A["default"].weight = nn.Parameter(change.down.contiguous())
        layer.lora_B["default"].weight = nn.Parameter(change.up.contiguous())
        if change.magnitude is not None:
            held = layer.lora_magnitude_vector["default"]
            held.weight = nn.Parameter(change.magnitude.reshape(held.weight.shape).contiguous())


def _usual(values: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
    """What most layers have, and a pattern in peft's sense for each layer that has another."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {f"^{re.escape(name)}": value for name, value in values.items() if value != usual}


def _attach_loha(network: nn.Module, changes: Mapping[str, Hadamard]) -> None:
    rank, ranks = _usual({name: change.rank for name, change in changes.items()})
    alpha, alphas = _usual({name: change.scaling * change.rank for name, change in changes.items()})
    adapters.attach(
        network, "loha", targets=sorted(changes), r=rank, alpha=alpha, rank_pattern=ranks, alpha_pattern=alphas
    )
    for name, change in changes.items():
        layer: Any = network.get_submodule(name)
        for part in ("w1_a", "w1_b", "w2_a", "w2_b"):
            getattr(layer, f"hada_{part}")["default"] = nn.Parameter(getattr(change, part).contiguous())


def _attach_lokr(network: nn.Module, changes: Mapping[str, Kronecker], factor: int) -> None:
    # peft leaves a factor whole from half its larger size on, and multiplies by alpha / r whatever it holds.
    rank = max(max(change.b.shape) for change in changes.values())
    adapters.attach(network, "lokr", targets=sorted(changes), r=rank, alpha=rank, decompose_factor=factor)
    for name, change in changes.items():
        layer: Any = network.get_submodule(name)
        layer.lokr_w1["default"] = nn.Parameter(change.a.contiguous())
        layer.lokr_w2["default"] = nn.Parameter(change.b.contiguous())


def on_base(folder: Path, network: nn.Module) -> dict[str, dict[str, Change]]:
    """What an adapter adds to the weights of the loaded network that it was trained on, entry by entry.

    Raises:
        InputError: the adapter does not fit the network.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    from domains.personalized_diffusion.official.changes import Dense

    adapters.load(network, folder, name="exported")
    changes: dict[str, dict[str, Change]] = {}
    with torch.no_grad():
        for name, layer in network.named_modules():
            if isinstance(layer, BaseTunerLayer) and hasattr(layer, "get_delta_weight"):
                component, module = native(name)
                changes.setdefault(component, {})[module] = Dense(layer.get_delta_weight("exported").float().cpu())
    adapters.detach(network, "exported")
    if not changes:
        raise InputError(f"{folder} changes no single weights; export it with --to merged")
    return changes


def scaled(changes: Changes, strength: float) -> dict[str, dict[str, Change]]:
    """The changes times a factor."""

    def weaker(change: Change) -> Change:
        if isinstance(change, LowRank) and change.magnitude is not None:
            raise InputError("DoRA at another strength is no DoRA; use --to merged")
        if isinstance(change, (Kronecker, LowRank, Hadamard)):
            return replace(change, scaling=change.scaling * strength)
        return replace(change, weight=change.weight * strength)

    return {part: {name: weaker(change) for name, change in modules.items()} for part, modules in changes.items()}
