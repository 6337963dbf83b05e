"""Adapters for other programs: weights files, peft folders, the authors' files, merged bases."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from domains.personalized_diffusion.official import adapter_folder, header, processor_keys
from domains.personalized_diffusion.official.changes import Changes, Kronecker, LowRank, combined, folded
from domains.personalized_diffusion.official.forms import (
    chosen,
    converted,
    diffusers_metadata,
    named,
    one_alpha,
    opens_in,
    single_factor,
)
from domains.personalized_diffusion.official.naming import Names, filed
from suite.errors import InputError
from suite.files import ADAPTER, EXPORT, atomic_folder
from suite.hub import weights

Form = Literal["kohya", "lokr", "lora", "lora-truncated", "diff", "peft", "official", "merged"]
Dtype = Literal["float32", "float16", "bfloat16"]

PEFT_NAME = "adapter_model.safetensors"
DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True)
class Written:
    """What an export made.

    Attributes:
        path: the file or folder.
        form: what is in it.
        exact: whether it does to the weights what the adapter does, to rounding.
        error: norm of what is missing over the norm of all, over all weights; 0 where exact.
        rank: the largest rank of a LoRA; 0 for other forms.
        opens_in: programs that load it as it is.
        numbers: how many it holds.
    """

    path: Path
    form: str
    exact: bool
    error: float
    rank: int
    opens_in: tuple[str, ...]
    numbers: int


def export(
    source: Path,
    out: Path,
    to: Form = "kohya",
    *,
    names: Names = "kohya",
    rank: int | None = None,
    strength: float = 1.0,
    also: Sequence[tuple[Path, float]] = (),
    dtype: Dtype = "float32",
    base: str | Path | None = None,
) -> Written:
    """Write an adapter folder for another program.

    Args:
        source: the adapter; its facts (trigger, base) go into the file.
        out: a file that ends in .safetensors; a folder for `peft`, `official` and `merged`.
        to: the form. `kohya` takes LoKr where that is exact, else LoRA.
        names: of the modules in the file.
        rank: of a truncated LoRA.
        strength: factor on the change.
        also: further adapters to add, each with its factor. Their sum is exact as LoRA, difference or merged pipeline;
            it is no Kronecker product.
        dtype: of the stored numbers.
        base: what the adapter stands on, for `merged` and for methods that only exist relative to it (SVDiff); the one
            that the adapter names by default.

    Raises:
        InputError: the form cannot hold the adapter (with the reason), or an argument does not fit the form.
    """
    if (rank is not None) != (to == "lora-truncated"):
        raise InputError("--rank belongs to --to lora-truncated, and that needs it")
    if names != "kohya" and to in ("peft", "official", "merged"):
        raise InputError(f"--names {names} is of one weights file; what --to {to} writes has names of its own")
    if not all(math.isfinite(factor) for factor in (strength, *(factor for _, factor in also))):
        raise InputError(f"strength {strength}: give a finite number")
    given = [(source, strength), *also]
    if to == "merged":
        return merged(given, out, base, dtype=dtype)
    found = adapter_folder.read(source)
    changes: Changes = combined([_changes(folder, factor, base) for folder, factor in given])
    if to in ("peft", "official"):
        made = (peft_folder if to == "peft" else official_folder)(changes, out, found, dtype)
    else:
        made = _file(changes, out, to, found, names=names, rank=rank, dtype=dtype)
    return made


def _changes(folder: Path, strength: float, base: str | Path | None) -> Changes:
    """What an adapter adds, times a factor; its base is loaded where that takes it."""
    found = adapter_folder.read(folder)
    changes = found.changes
    if any(method in adapter_folder.NEEDS_BASE for method in found.method.split("+")):
        changes = adapter_folder.on_base(folder, _network(found, base))
    return changes if strength == 1 else adapter_folder.scaled(changes, strength)


def _file(
    changes: Changes, out: Path, to: Form, found: adapter_folder.Stored, *, names: Names, rank: int | None, dtype: Dtype
) -> Written:
    if out.suffix != ".safetensors":
        raise InputError(f"{out} is to be one weights file; end it in .safetensors")
    form = chosen(changes) if to == "kohya" else "lora" if to == "lora-truncated" else to
    made, error = converted(changes, form, rank)
    made = one_alpha(made) if form == "lora" else made
    family = header.family_of(changes, found.facts)
    state = named(made, form, names, two_encoders=family == "sdxl")
    texts = header.build(made, found.facts, found.manifest["base"], title=out.stem, form=form)
    if names == "diffusers" and form == "lora":
        texts |= diffusers_metadata(made)
    state = _cast(state, dtype)
    weights.write(state, out, texts | header.hashes(state))
    error = math.hypot(error, rounding(made, dtype))
    ranks = [change.rank for modules in made.values() for change in modules.values() if isinstance(change, LowRank)]
    readers = opens_in(made, form, names)
    return Written(out, form, error == 0, error, max(ranks, default=0), readers, sum(t.numel() for t in state.values()))


def peft_folder(changes: Changes, out: Path, found: adapter_folder.Stored, dtype: Dtype) -> Written:
    """A folder that plain peft loads, one below it for each network where there are several.

    Raises:
        InputError: peft's LoKr has no configuration for these factors.
    """
    form = chosen(changes)
    if form == "diff":
        raise InputError(f"{found.method} has no form in peft; use --to lora-truncated --rank N, or --to diff")
    for modules in changes.values():
        if form == "lokr" and single_factor(modules) is None:
            a1, a2 = next(tuple(c.a.shape) for c in modules.values() if isinstance(c, Kronecker))
            raise InputError(
                f"peft's LoKr makes both sizes of w1 of one number, so a1 = {a1}, a2 = {a2} has no configuration; use "
                "--to lora (exact), or --to lokr for ComfyUI"
            )
    numbers = 0
    with atomic_folder(out, ADAPTER) as target:
        for component, modules in changes.items():
            where = target if len(changes) == 1 else target / component
            made, _ = converted({component: modules}, form)
            adapter_folder.write(made, where, base=found.base, lokr=single_factor(modules) if form == "lokr" else None)
            for extra in ("suite.json", "README.md"):
                (where / extra).unlink(missing_ok=True)
            file = where / PEFT_NAME
            state = weights.read(file)
            texts = header.build(made, found.facts, found.manifest["base"], title=out.name, form=form)
            weights.write(_cast(state, dtype), file, texts)
            numbers += sum(tensor.numel() for tensor in state.values())
    error = rounding(converted(changes, form)[0], dtype)
    return Written(out, f"peft {form}", error == 0, error, 0, ("peft",), numbers)


def official_folder(changes: Changes, out: Path, found: adapter_folder.Stored, dtype: Dtype) -> Written:
    """The authors' attention-processor file, `pytorch_lora_weights.safetensors`.

    Raises:
        InputError: the adapter has the paper's layout, or is no KronA; theirs would compute something else.
    """
    state: dict[str, Tensor] = {}
    for component, modules in changes.items():
        if component not in ("unet", "text_encoder", "text_encoder_2"):
            raise InputError(f"the authors' code adapts UNets and text encoders, no {component}; use --to kohya")
        for module, change in modules.items():
            if not isinstance(change, Kronecker) or not change.official:
                raise InputError(
                    f"{component}: {module} is not of the authors' layout, which their code would take it for; "
                    "use --to kohya or --to lora"
                )
            plain = folded(change)
            part, name = cast("processor_keys.Component", component), filed(component, module)
            state[processor_keys.key_of(part, name, "down")] = plain.a.T.contiguous()
            state[processor_keys.key_of(part, name, "up")] = plain.b
    with atomic_folder(out, EXPORT) as target:
        weights.write(
            _cast(state, dtype),
            target / DIFFUSERS_NAME,
            header.build(changes, found.facts, found.manifest["base"], title=out.name, form="krona"),
        )
    numbers, error = sum(tensor.numel() for tensor in state.values()), rounding(changes, dtype)
    return Written(out, "official", error == 0, error, 0, ("DiffuseKronA's own code",), numbers)


def merged(given: Sequence[tuple[Path, float]], out: Path, base: str | Path | None, *, dtype: Dtype) -> Written:
    """The base's pipeline with adapters folded in: an ordinary diffusers folder.

    Args:
        given: adapter folders, each with its factor. They are for one base, that of the first by default.
        out: the folder to write. base: reference or folder of the base. dtype: of all its weights.

    Raises:
        InputError: the base is not at hand, an adapter does not fit it, or cannot be folded in.
    """
    from domains.personalized_diffusion.model import bases
    from suite import adapters

    read = [adapter_folder.read(folder) for folder, _ in given]
    loaded = bases.load(_base(read[0], base), dtype=torch.float32, device="cpu")
    text = {found.facts.text_encoder for found in read}
    if len(text) > 1:
        raise InputError("some of the adapters change the text encoder and some do not; merge them one after the other")
    parts = bases.adapted_parts(loaded, any(text))
    network = bases.network(parts)
    names = [f"merged{number}" for number in range(len(given))]
    for name, (folder, strength) in zip(names, given, strict=True):
        network = adapters.load(network, folder, name=name)
        adapters.scale(network, strength, name)
    adapters.activate(network, *names)
    plain = {} if dtype == "float32" else _weights_that_change(network)
    adapters.merge(network)
    state = adapters.merged_state(network)
    error = _rounding_of_merged(plain, state, dtype)
    pipe = loaded.pipeline()
    for component, part in parts.items():
        prefix = f"{component}." if len(parts) > 1 else ""
        setattr(pipe, component, _with_weights(part, {key: state[prefix + key] for key in _names_of(part)}))
    pipe.to(getattr(torch, dtype))
    if gone := bases.left_out(loaded.folder):
        print(f"export: left out of the base: {', '.join(gone)}", file=sys.stderr, flush=True)
    with atomic_folder(out, EXPORT) as folder, bases.silent():
        pipe.save_pretrained(folder)
    numbers = sum(p.numel() for m in pipe.components.values() if isinstance(m, torch.nn.Module) for p in m.parameters())
    return Written(out, "merged", error == 0, error, 0, ("diffusers",), numbers)


def _weights_that_change(network: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of the base's weights that adapters are about to be folded into; of all where no layers are wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from suite import adapters

    layers = {name for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)}
    state = adapters.merged_state(network)
    return {key: value.clone() for key, value in state.items() if not layers or key.rpartition(".")[0] in layers}


def _rounding_of_merged(plain: Mapping[str, Tensor], state: Mapping[str, Tensor], dtype: Dtype) -> float:
    """The norm of what a type's numbers miss of merged weights over the norm of what merging changed in them.

    Args:
        plain: weights before merging. state: those and others after it.
    """
    missing = total = 0.0
    for key, before in plain.items():
        rounded = state[key].to(getattr(torch, dtype)).float()
        missing += float((rounded - state[key]).double().square().sum())
        total += float((state[key] - before).double().square().sum())
    return (missing / total) ** 0.5 if total else 0.0


def _empty(part: torch.nn.Module) -> torch.nn.Module:
    """A network of the same class and settings on the meta device: no second copy of its weights."""
    made: Any = type(part)
    with torch.device("meta"):
        return cast(
            torch.nn.Module, made.from_config(part.config) if hasattr(made, "from_config") else made(part.config)
        )


def _names_of(part: torch.nn.Module) -> list[str]:
    return list(_empty(part).state_dict())


def _with_weights(part: torch.nn.Module, state: Mapping[str, Tensor]) -> torch.nn.Module:
    """A network like `part`, without its adapters, that holds these very tensors."""
    made = _empty(part)
    made.load_state_dict(state, assign=True)
    return made


def _network(found: adapter_folder.Stored, base: str | Path | None) -> torch.nn.Module:
    from domains.personalized_diffusion.model import bases

    loaded = bases.load(_base(found, base), dtype=torch.float32, device="cpu")
    return bases.adapted_network(loaded, found.facts.text_encoder)


def _base(found: adapter_folder.Stored, base: str | Path | None) -> str | Path:
    reference = base or found.base
    if not reference:
        raise InputError("the adapter names no base; give it with --base")
    return reference


def rounding(changes: Changes, dtype: Dtype) -> float:
    """The error that numbers of a type make: the norm of what they miss over the norm of all changes."""
    if dtype == "float32":
        return 0.0
    missing = total = 0.0
    for change in (change for modules in changes.values() for change in modules.values()):
        change = replace(change, magnitude=None) if isinstance(change, LowRank) else change
        tensors = {name: value for name, value in vars(change).items() if isinstance(value, Tensor)}
        rounded = replace(change, **{name: value.to(getattr(torch, dtype)).float() for name, value in tensors.items()})
        missing += float((rounded.delta() - change.delta()).double().square().sum())
        total += float(change.delta().double().square().sum())
    return (missing / total) ** 0.5 if total else 0.0


def _cast(state: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """The tensors in another type.

    Raises:
        InputError: a number does not fit into it.
    """
    made = {key: value.to(getattr(torch, dtype)) for key, value in state.items()}
    lost = [key for key, value in made.items() if not torch.isfinite(value).all()]
    if lost:
        raise InputError(f"{len(lost)} tensors are too large for {dtype}, e.g. {lost[0]}; use --dtype bfloat16")
    return made
