"""The forms that other programs keep a change in: what each can hold, its tensors' names, and who opens it.

What is exact: the paper's layout is LoKr with both factors whole, w1 = A and w2 = B, for every (a1, a2) in ComfyUI and
A1111, and where one number gives both shapes in peft, diffusers and LyCORIS. The authors' layout is no Kronecker
product of any shape. Both are LoRA of rank rank(A) * rank(B) <= min(a1, a2) * min(b1, b2).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from domains.personalized_diffusion.model.families import of_width
from domains.personalized_diffusion.official.changes import (
    Change,
    Changes,
    Dense,
    Hadamard,
    Kronecker,
    LowRank,
    cross_attention_width,
    folded,
    low_rank,
    transformer_family,
)
from domains.personalized_diffusion.official.naming import Names, foreign
from suite.errors import InputError

_WHY_NO_LOKR = (
    "the authors' layout (official) is no Kronecker product, so LoKr cannot hold it; use --to lora, which is exact"
)


def chosen(changes: Changes) -> str:
    """LoKr where it holds every change, else LoRA, else differences."""
    everything = [change for modules in changes.values() for change in modules.values()]
    if all(isinstance(change, Kronecker) and not change.official for change in everything):
        return "lokr"
    if all(isinstance(change, Hadamard) for change in everything):
        return "loha"
    return "diff" if any(isinstance(change, (Dense, Hadamard)) for change in everything) else "lora"


def converted(changes: Changes, form: str, rank: int | None = None) -> tuple[dict[str, dict[str, Change]], float]:
    """Changes in the form of a format, and the error that this makes over all weights.

    Raises:
        InputError: the form cannot hold them; says why.
    """
    made: dict[str, dict[str, Change]] = {}
    missing = total = 0.0
    for component, modules in changes.items():
        for name, change in modules.items():
            if form != "lora" and isinstance(change, LowRank) and change.magnitude is not None:
                raise InputError(f"{component}: {name} is DoRA, which exists relative to its base; use --to merged")
            new, error = FORMS[form].write(change, rank, f"{component}: {name}")
            made.setdefault(component, {})[name] = new
            if error:
                missing += (error * float(change.delta().double().norm())) ** 2
            if rank is not None:
                total += float(change.delta().double().square().sum())
    return made, (missing / total) ** 0.5 if total else 0.0


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
        return LowRank(change.down, change.up * (change.scaling / scaling), scaling, change.magnitude)

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
            for part, value in FORMS[form].keys(change, names).items():
                state[f"{key}.{part}"] = value
    return state


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
    return FORMS[form].opens_in(changes, names)


@dataclass(frozen=True)
class Form:
    """A form in which weights files keep changes.

    Attributes:
        write: a change, the rank asked for, and where it stands, to the change in this form and its error.
        opens_in: changes in this form and the names of their modules, to the programs that load the file as it is.
        keys: a change in this form and the names of modules, to its tensors by the names of their parts.
    """

    write: Callable[[Change, int | None, str], tuple[Change, float]]
    opens_in: Callable[[Changes, Names], tuple[str, ...]]
    keys: Callable[[Any, Names], dict[str, Tensor]]


def _to_lora(change: Change, rank: int | None, where: str) -> tuple[Change, float]:
    return low_rank(change, rank)


def _to_lokr(change: Change, rank: int | None, where: str) -> tuple[Change, float]:
    if not isinstance(change, Kronecker):
        raise InputError(
            f"{where} is no Kronecker product, so LoKr cannot hold it; fit KronA to it with "
            "suite personalized_diffusion import --factors"
        )
    if change.official:
        raise InputError(f"{where}: {_WHY_NO_LOKR}")
    return folded(change), 0.0


def _to_diff(change: Change, rank: int | None, where: str) -> tuple[Change, float]:
    return Dense(change.delta()), 0.0


def _lora_keys(change: LowRank, names: Names) -> dict[str, Tensor]:
    if names == "diffusers" and change.magnitude is not None:
        raise InputError("diffusers leaves the magnitudes of DoRA files out; use --to merged, or --names kohya")
    if names == "diffusers":
        return {"lora_A.weight": change.down, "lora_B.weight": change.up * change.scaling}
    alpha = torch.tensor(float(change.scaling * change.rank))
    parts = {"lora_down.weight": change.down, "lora_up.weight": change.up, "alpha": alpha}
    if change.magnitude is not None:  # a number a row, as the weight lies
        parts["dora_scale"] = change.magnitude.reshape(-1, *[1] * (len(change.shape) - 1))
    return parts


def _to_loha(change: Change, rank: int | None, where: str) -> tuple[Change, float]:
    if not isinstance(change, Hadamard):
        raise InputError(f"{where} is no product of LoHa's kind; use --to kohya or --to lora")
    return change, 0.0


def _loha_keys(change: Hadamard, names: Names) -> dict[str, Tensor]:
    if names == "diffusers":
        raise InputError("diffusers reads no LoHa; use --names kohya, or --to lora")
    parts = {f"hada_{part}": getattr(change, part) for part in ("w1_a", "w1_b", "w2_a", "w2_b")}
    return {**parts, "alpha": torch.tensor(float(change.scaling * change.rank))}


def _lokr_keys(change: Kronecker, names: Names) -> dict[str, Tensor]:
    parts = {"lokr_w1": change.a, "lokr_w2": change.b}
    # Nobody applies the alpha of whole factors, and LyCORIS cannot load them without one.
    return parts if names == "diffusers" else {**parts, "alpha": torch.tensor(1.0)}


def _diff_keys(change: Dense, names: Names) -> dict[str, Tensor]:
    if names == "diffusers":
        raise InputError("diffusers reads no full differences; use --names kohya, or --to merged")
    return {"diff": change.weight}


def _readers(changes: Changes, names: Names) -> tuple[str, ...]:
    """Programs that know modules by these names, whatever the form, diffusers left out."""
    if "transformer" in changes and transformer_family(changes["transformer"]) not in (None, "sd3", "flux"):
        return ()  # nobody's loader but diffusers' was compared with these names
    if names == "diffusers":
        return ("ComfyUI",) if "transformer" in changes else ()
    if names == "lycoris":
        return ("ComfyUI", "LyCORIS")
    if names == "sgm" and of_width(cross_attention_width(changes)) not in (None, "sdxl"):
        return ("ComfyUI",)  # the others know Stability's block names of SDXL alone
    return ("ComfyUI", "OneTrainer") if "transformer" in changes else ("ComfyUI", "A1111/Forge", "LyCORIS/kohya")


def _open_lora(changes: Changes, names: Names) -> tuple[str, ...]:
    readers = _readers(changes, names)
    if any(getattr(change, "magnitude", None) is not None for m in changes.values() for change in m.values()):
        return readers  # diffusers drops the magnitudes without an error
    if names == "diffusers":
        return ("diffusers", *readers)
    return readers if names == "lycoris" or len(readers) < 3 else (*readers, "diffusers")


def _open_lokr(changes: Changes, names: Names) -> tuple[str, ...]:
    readers = _readers(changes, names)
    if names == "diffusers":
        # Its pipelines' load_lora_weights refuses what is no LoRA; the network's own loader takes it.
        return (*(["diffusers (unet.load_lora_adapter)"] if _expressible(changes) else []), *readers)
    return tuple(reader for reader in readers if _lycoris_loads(changes) or "LyCORIS" not in reader)


def _expressible(changes: Changes) -> bool:
    return all(single_factor(modules) is not None for modules in changes.values())


def _lycoris_loads(changes: Changes) -> bool:
    """LyCORIS works the shapes of both factors out anew from one number, the smaller half first."""
    pairs = [(c.a.shape, c.b.shape) for m in changes.values() for c in m.values() if isinstance(c, Kronecker)]
    return all(a[0] == a[1] and a[0] <= min(b) for a, b in pairs)


FORMS: Mapping[str, Form] = {
    "lokr": Form(_to_lokr, _open_lokr, _lokr_keys),
    "lora": Form(_to_lora, _open_lora, _lora_keys),
    "loha": Form(_to_loha, _readers, _loha_keys),
    "diff": Form(_to_diff, _readers, _diff_keys),
}
"""What `converted`, `named` and `opens_in` know of each form; a new one is a row and its functions."""
