"""Which projections are adapted, on which base: KronA and the methods it is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from suite import adapters
from suite.errors import InputError

PROJECTIONS: Mapping[str, str] = {"k": "to_k", "q": "to_q", "v": "to_v", "o": r"to_out\.0"}
TEXT_PROJECTIONS: Mapping[str, str] = {"k": "k_proj", "q": "q_proj", "v": "v_proj", "o": "out_proj"}

Factors = tuple[int, int]


def targets(projections: str = "kqvo", names: Mapping[str, str] = PROJECTIONS) -> str:
    """The regular expression over module names for projections given by letter, e.g. `kqvo` or `kv`.

    Diffusers' transformers (SD3, Flux) name their attention the same way; their joint projections are left alone.

    Raises:
        InputError: a letter is unknown, repeated, or none is given.
    """
    unknown = sorted(set(projections) - set(names))
    if not projections or unknown or len(set(projections)) < len(projections):
        what = f"unknown letters {', '.join(unknown)}" if unknown else "each letter once, at least one"
        raise InputError(f"projections {projections!r}: {what}; choose among {', '.join(names)}")
    return rf".*({'|'.join(names[letter] for letter in projections)})"


def krona(
    factors: Factors | Mapping[str, Factors] = (4, 64),
    projections: str = "kqvo",
    names: Mapping[str, str] = PROJECTIONS,
    **settings: Any,
) -> dict[str, Any]:
    """Settings of KronA on attention for `suite.adapters.attach`.

    Args:
        factors: (a1, a2) of every projection, or by letter.
        settings: further settings of the method, e.g. `layout`, `scaling`.
    """
    where = targets(projections, names)
    chosen = {letter: factors[letter] for letter in projections} if isinstance(factors, Mapping) else {}
    first = factors[projections[0]] if isinstance(factors, Mapping) else factors
    pattern = {names[letter]: list(pair) for letter, pair in chosen.items()}
    return {"method": "krona", "targets": where, "a1": first[0], "a2": first[1], "a_pattern": pattern, **settings}


def lora(rank: int = 4, projections: str = "kqvo", names: Mapping[str, str] = PROJECTIONS) -> dict[str, Any]:
    """LoRA-DreamBooth on the same projections, alpha = rank as in diffusers' script."""
    return {"method": "lora", "targets": targets(projections, names), "r": rank, "lora_alpha": rank}


def adapted(model: nn.Module, letters: str = "kqvo", names: Mapping[str, str] = PROJECTIONS) -> list[str]:
    """Names of the projections of `model` that `targets` reaches."""
    pattern = re.compile(targets(letters, names))
    return [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and pattern.fullmatch(n)]


def count_table(model: nn.Module, pairs: Sequence[Factors]) -> dict[Factors, int | None]:
    """Trainable parameters of KronA on all four projections for pairs of factors; None where they do not divide."""
    sizes = [(m.out_features, m.in_features) for n, m in model.named_modules() if n in set(adapted(model))]
    table: dict[Factors, int | None] = {}
    for a1, a2 in pairs:
        fits = all(out % a1 == 0 and into % a2 == 0 for out, into in sizes)
        table[a1, a2] = sum(a1 * a2 + out // a1 * (into // a2) for out, into in sizes) if fits else None
    return table


def attach(model: nn.Module, settings: Mapping[str, Any], name: str = "default") -> nn.Module:
    """`suite.adapters.attach` with one method's settings."""
    return adapters.attach(model, dict(settings), name=name)
