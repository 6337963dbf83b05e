"""Adapters for other programs: LoKr, LoRA, full differences, peft folders, merged pipelines.

What is exact (section 2.5 of DiffuseKronA's layers against LoKr): the paper's layout is LoKr with both factors whole,
w1 = A and w2 = B, for every (a1, a2) in ComfyUI and A1111, and where one number gives both shapes in peft, diffusers
and LyCORIS. The authors' layout is no Kronecker product of any shape. Both are LoRA of rank
rank(A) * rank(B) <= min(a1, a2) * min(b1, b2).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from domains.personalized_diffusion import header, official, stored
from domains.personalized_diffusion.changes import (
    Change,
    Changes,
    Dense,
    Kronecker,
    LowRank,
    combined,
    folded,
    low_rank,
)
from domains.personalized_diffusion.naming import Names, filed, foreign
from suite.errors import InputError
from suite.files import atomic_folder
from suite.hub import weights

Form = Literal["kohya", "lokr", "lora", "lora-truncated", "diff", "peft", "official", "merged"]
Dtype = Literal["float32", "float16", "bfloat16"]

PEFT_NAME = "adapter_model.safetensors"
DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"
_WHY_NO_LOKR = (
    "the authors' layout (official) is no Kronecker product, so LoKr cannot hold it; use --to lora, which is exact"
)


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
    given = [(source, strength), *also]
    if to == "merged":
        return merged(given, out, base, dtype=dtype)
    found = stored.read(source)
    changes: Changes = combined([_changes(folder, factor, base) for folder, factor in given])
    if to in ("peft", "official"):
        made = (peft_folder if to == "peft" else official_folder)(changes, out, found, dtype)
    else:
        made = _file(changes, out, to, found, names=names, rank=rank, dtype=dtype)
    return made


def _changes(folder: Path, strength: float, base: str | Path | None) -> Changes:
    """What an adapter adds, times a factor; its base is loaded where that takes it."""
    found = stored.read(folder)
    changes = found.changes
    if any(method in stored.NEEDS_BASE for method in found.method.split("+")):
        changes = stored.on_base(folder, _network(found, base))
    return changes if strength == 1 else stored.scaled(changes, strength)


def _file(
    changes: Changes, out: Path, to: Form, found: stored.Stored, *, names: Names, rank: int | None, dtype: Dtype
) -> Written:
    if out.suffix != ".safetensors":
        raise InputError(f"{out} is to be one weights file; end it in .safetensors")
    if (rank is not None) != (to == "lora-truncated"):
        raise InputError("--rank belongs to --to lora-truncated, and that needs it")
    form = _chosen(changes) if to == "kohya" else "lora" if to == "lora-truncated" else to
    made, error = converted(changes, form, rank)
    made = one_alpha(made) if form == "lora" else made
    family = header.family_of(changes, found.facts)
    state = named(made, form, names, two_encoders=family == "sdxl")
    texts = header.build(made, found.manifest, title=out.stem, form=form)
    if names == "diffusers" and form == "lora":
        texts |= diffusers_metadata(made)
    weights.write(_cast(state, dtype), out, texts)
    ranks = [change.rank for modules in made.values() for change in modules.values() if isinstance(change, LowRank)]
    readers = opens_in(made, form, names)
    return Written(out, form, error == 0, error, max(ranks, default=0), readers, sum(t.numel() for t in state.values()))


def _chosen(changes: Changes) -> str:
    """LoKr where it holds every change, else LoRA, else differences."""
    everything = [change for modules in changes.values() for change in modules.values()]
    if all(isinstance(change, Kronecker) and not change.official for change in everything):
        return "lokr"
    return "diff" if any(isinstance(change, Dense) for change in everything) else "lora"


def converted(changes: Changes, form: str, rank: int | None = None) -> tuple[dict[str, dict[str, Change]], float]:
    """Changes in the form of a format, and the error that this makes over all weights.

    Raises:
        InputError: the form cannot hold them; says why.
    """
    made: dict[str, dict[str, Change]] = {}
    missing = total = 0.0
    for component, modules in changes.items():
        for name, change in modules.items():
            new, error = _as(change, form, rank, f"{component}: {name}")
            made.setdefault(component, {})[name] = new
            if error:
                missing += (error * float(change.delta().double().norm())) ** 2
            if rank is not None:
                total += float(change.delta().double().square().sum())
    return made, (missing / total) ** 0.5 if total else 0.0


def _as(change: Change, form: str, rank: int | None, where: str) -> tuple[Change, float]:
    if form == "lora":
        return low_rank(change, rank)
    if form == "diff":
        return Dense(change.delta()), 0.0
    if not isinstance(change, Kronecker):
        raise InputError(
            f"{where} is no Kronecker product, so LoKr cannot hold it; fit KronA to it with "
            "suite personalized_diffusion import --factors"
        )
    if change.official:
        raise InputError(f"{where}: {_WHY_NO_LOKR}")
    return folded(change), 0.0


def one_alpha(changes: Mapping[str, Mapping[str, Change]]) -> dict[str, dict[str, Change]]:
    """LoRA with the same alpha everywhere, whatever the ranks; what that changes is put into `up`.

    diffusers 0.42 misreads a kohya file's alphas where they differ (it looks for them under other names).
    """
    loras = [change for modules in changes.values() for change in modules.values() if isinstance(change, LowRank)]
    alphas = {change.scaling * change.rank for change in loras}
    if len(alphas) == 1:
        return {component: dict(modules) for component, modules in changes.items()}
    alpha = max(change.rank for change in loras)

    def evened(change: Change) -> Change:
        if not isinstance(change, LowRank):
            return change
        scaling = alpha / change.rank
        return LowRank(change.down, change.up * (change.scaling / scaling), scaling)

    return {part: {name: evened(change) for name, change in modules.items()} for part, modules in changes.items()}


def named(changes: Changes, form: str, names: Names, *, two_encoders: bool = False) -> dict[str, Tensor]:
    """Tensors under the names that a program looks for.

    Raises:
        InputError: the names have no word for a module or for the form.
    """
    state: dict[str, Tensor] = {}
    for component, modules in changes.items():
        for module, change in modules.items():
            key = foreign(component, module, names, two_encoders=two_encoders)
            for part, value in _parts(change, names).items():
                state[f"{key}.{part}"] = value
    return state


def _parts(change: Change, names: Names) -> dict[str, Tensor]:
    """A change's tensors under the names of their parts."""
    if isinstance(change, Kronecker):
        parts = {"lokr_w1": change.a, "lokr_w2": change.b}
        # Nobody applies the alpha of whole factors, and LyCORIS cannot load them without one.
        return parts if names == "diffusers" else {**parts, "alpha": torch.tensor(1.0)}
    if isinstance(change, Dense):
        if names == "diffusers":
            raise InputError("diffusers reads no full differences; use --names kohya, or --to merged")
        return {"diff": change.weight}
    if names == "diffusers":
        return {"lora_A.weight": change.down, "lora_B.weight": change.up * change.scaling}
    alpha = torch.tensor(float(change.scaling * change.rank))
    return {"lora_down.weight": change.down, "lora_up.weight": change.up, "alpha": alpha}


def diffusers_metadata(changes: Changes) -> dict[str, str]:
    """The LoRA configuration that diffusers reads from a header, so that no rank or alpha has to be guessed."""
    settings: dict[str, Any] = {}
    for component, modules in changes.items():
        ranks = {name: c.rank for name, c in modules.items() if isinstance(c, LowRank)}
        usual = Counter(ranks.values()).most_common(1)[0][0]
        # As `foreign` names a text encoder's modules, with the prefix that diffusers takes off again.
        others = {name: rank for name, rank in ranks.items() if rank != usual}
        settings |= {
            f"{component}.r": usual,
            f"{component}.lora_alpha": usual,
            f"{component}.rank_pattern": others,
            f"{component}.alpha_pattern": others,
            f"{component}.target_modules": sorted(ranks),
        }
    return {"lora_adapter_metadata": json.dumps(settings, sort_keys=True)}


def single_factor(changes: Mapping[str, Change]) -> int | None:
    """peft's `decompose_factor` that gives every module the shapes it has, or None."""
    from peft.tuners.lokr.layer import factorization

    shapes = [(c.a.shape, c.b.shape) for c in changes.values() if isinstance(c, Kronecker)]
    for factor in [*sorted({a[0] for a, _ in shapes}), -1]:
        if all(
            factorization(a[0] * b[0], factor) == (a[0], b[0]) and factorization(a[1] * b[1], factor) == (a[1], b[1])
            for a, b in shapes
        ):
            return int(factor)
    return None


def opens_in(changes: Changes, form: str, names: Names) -> tuple[str, ...]:
    """The programs that load such a file as it is."""
    transformer = "transformer" in changes
    if names == "diffusers":
        readers = ["diffusers"] if form == "lora" or (form == "lokr" and _expressible(changes)) else []
        return (*readers, *(["ComfyUI"] if transformer else []))
    if names == "lycoris":
        readers = ["ComfyUI", "LyCORIS"]
    else:
        readers = ["ComfyUI", "OneTrainer"] if transformer else ["ComfyUI", "A1111/Forge", "LyCORIS/kohya"]
        readers += ["diffusers"] if form == "lora" and not transformer else []
    shaped = form != "lokr" or _lycoris_loads(changes)
    return tuple(reader for reader in readers if shaped or "LyCORIS" not in reader)


def _expressible(changes: Changes) -> bool:
    return all(single_factor(modules) is not None for modules in changes.values())


def _lycoris_loads(changes: Changes) -> bool:
    """LyCORIS works the shapes of both factors out anew from one number, the smaller half first."""
    pairs = [(c.a.shape, c.b.shape) for m in changes.values() for c in m.values() if isinstance(c, Kronecker)]
    return all(a[0] == a[1] and a[0] <= min(b) for a, b in pairs)


def peft_folder(changes: Changes, out: Path, found: stored.Stored, dtype: Dtype) -> Written:
    """A folder that plain peft loads, one below it for each network where there are several.

    Raises:
        InputError: peft's LoKr has no configuration for these factors.
    """
    form = _chosen(changes)
    if form == "diff":
        raise InputError(f"{found.method} has no form in peft; use --to lora-truncated --rank N, or --to diff")
    for modules in changes.values():
        if form == "lokr" and single_factor(modules) is None:
            a1, a2 = next(tuple(c.a.shape) for c in modules.values() if isinstance(c, Kronecker))
            raise InputError(
                f"peft's LoKr makes both sizes of w1 of one number, so a1 = {a1}, a2 = {a2} has no configuration; use "
                "--to lora (exact), or --to lokr for ComfyUI"
            )
    base = (found.manifest.get("base") or {}).get("reference")
    numbers = 0
    with atomic_folder(out) as target:
        for component, modules in changes.items():
            where = target if len(changes) == 1 else target / component
            made, _ = converted({component: modules}, form)
            stored.write(made, where, base=base, lokr=single_factor(modules) if form == "lokr" else None)
            for extra in ("suite.json", "README.md"):
                (where / extra).unlink(missing_ok=True)
            file = where / PEFT_NAME
            state = weights.read(file)
            texts = header.build(made, found.manifest, title=out.name, form=form)
            weights.write(_cast(state, dtype), file, texts)
            numbers += sum(tensor.numel() for tensor in state.values())
    return Written(out, f"peft {form}", True, 0.0, 0, ("peft",), numbers)


def official_folder(changes: Changes, out: Path, found: stored.Stored, dtype: Dtype) -> Written:
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
            part, name = cast("official.Component", component), filed(component, module)
            state[official.key_of(part, name, "down")] = plain.a.T.contiguous()
            state[official.key_of(part, name, "up")] = plain.b
    with atomic_folder(out) as target:
        weights.write(
            _cast(state, dtype),
            target / DIFFUSERS_NAME,
            header.build(changes, found.manifest, title=out.name, form="krona"),
        )
    return Written(out, "official", True, 0.0, 0, ("DiffuseKronA's own code",), sum(t.numel() for t in state.values()))


def merged(given: Sequence[tuple[Path, float]], out: Path, base: str | Path | None, *, dtype: Dtype) -> Written:
    """The base's pipeline with adapters folded in: an ordinary diffusers folder.

    Args:
        given: adapter folders, each with its factor. They are for one base, that of the first by default.
        out: the folder to write. base: reference or folder of the base. dtype: of all its weights.

    Raises:
        InputError: the base is not at hand, an adapter does not fit it, or cannot be folded in.
    """
    from domains.personalized_diffusion import pipelines
    from domains.personalized_diffusion.model import set_strength
    from suite import adapters
    from suite.adapters.handle import handle_of

    read = [stored.read(folder) for folder, _ in given]
    plain, loaded = (pipelines.load(_base(read[0], base), dtype=torch.float32, device="cpu") for _ in range(2))
    text = {bool(found.facts.get("text_encoder")) for found in read}
    if len(text) > 1:
        raise InputError("some of the adapters change the text encoder and some do not; merge them one after the other")
    target, network = (pipelines.adapted_network(part, any(text)) for part in (plain, loaded))
    names = [f"merged{number}" for number in range(len(given))]
    for name, (folder, strength) in zip(names, given, strict=True):
        network = adapters.load(network, folder, name=name)
        for member in handle_of(network).attachment(name).members if strength != 1 else ():
            set_strength(network, strength, member.adapter)
    adapters.activate(network, *names)
    adapters.merge(network)
    state = {key.replace(".base_layer.", "."): value for key, value in network.state_dict().items()}
    target.load_state_dict({key: state[key] for key in target.state_dict()})
    pipe = plain.pipeline().to(getattr(torch, dtype))
    with atomic_folder(out) as folder:
        pipe.save_pretrained(folder)
    numbers = sum(p.numel() for m in pipe.components.values() if isinstance(m, torch.nn.Module) for p in m.parameters())
    return Written(out, "merged", True, 0.0, 0, ("diffusers",), numbers)


def _network(found: stored.Stored, base: str | Path | None) -> torch.nn.Module:
    from domains.personalized_diffusion import pipelines

    loaded = pipelines.load(_base(found, base), dtype=torch.float32, device="cpu")
    return pipelines.adapted_network(loaded, bool(found.facts.get("text_encoder")))


def _base(found: stored.Stored, base: str | Path | None) -> str | Path:
    reference = base or (found.manifest.get("base") or {}).get("reference")
    if not reference:
        raise InputError("the adapter names no base; give it with --base")
    return reference


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
