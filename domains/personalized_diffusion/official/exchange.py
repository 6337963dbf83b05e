"""The verbs `inspect`, `export` and `import`: adapters between this suite and the programs that people use."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.types import weighted
from suite.errors import InputError

if TYPE_CHECKING:
    from domains.personalized_diffusion.official.imports import Opened

DOMAIN = "personalized_diffusion"


def export(
    adapter: str,
    out: Path,
    *,
    to: Literal["kohya", "lokr", "lora", "lora-truncated", "diff", "peft", "official", "merged"] = "kohya",
    names: Literal["kohya", "sgm", "diffusers", "lycoris"] = "kohya",
    rank: int | None = None,
    strength: float = 1.0,
    also: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    base: str | None = None,
) -> dict[str, Any]:
    """Write an adapter for ComfyUI, A1111, kohya, LyCORIS, diffusers or peft, or fold it into its base.

    Args:
        adapter: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        out: a .safetensors file; a folder for peft, official and merged.
        to: kohya (one file that opens in ComfyUI and A1111: LoKr where exact, else LoRA), lokr, lora (exact, at the
            rank that takes), lora-truncated (with --rank), diff (full differences), peft (folder), official (the
            authors' file), merged (the whole pipeline).
        names: of the modules in the file; sgm is what SDXL tools of Stability's own code use.
        rank: of lora-truncated.
        strength: factor on the change, as trained is 1.
        also: further adapters to add, as REF,REF=FACTOR,... The sum is exact as lora, diff or merged; two of KronA
            never add up to one of KronA.
        dtype: of the numbers in the file.
        base: reference of the base, for merged and SVDiff (default: the one that the adapter names).
    """
    from suite import hub

    folder = hub.resolve(adapter, DOMAIN)
    from domains.personalized_diffusion.official import exports

    wanted = [weighted(text.strip(), "=") for text in (also or "").split(",") if text.strip()]
    others = [(hub.resolve(reference, DOMAIN), factor) for reference, factor in wanted]
    made = exports.export(
        folder, out, to, names=names, rank=rank, strength=strength, also=others, dtype=dtype, base=base
    )
    how = "exact" if made.exact else f"relative Frobenius error {made.error:.4f}"
    facts = {
        "path": str(made.path),
        "form": made.form,
        "exact": made.exact,
        "error": made.error,
        "rank": made.rank or None,
        "numbers": made.numbers,
        "opens_in": list(made.opens_in),
    }
    at_rank = f" of rank {made.rank}" if made.rank else ""
    readers = ", ".join(made.opens_in) or "no program that is known"
    message = f"written   {made.path}\nform      {made.form}{at_rank}, {how}\nopens in  {readers}"
    return {**facts, "message": message}


def import_(
    source: str,
    out: Path,
    *,
    factors: str | None = None,
    layout: Literal["kron", "official"] = "kron",
    rank: int | None = None,
    kind: Literal["krona", "lora"] | None = None,
    base: str | None = None,
    token: str | None = None,
    noun: str | None = None,
    pickle: bool = False,
) -> dict[str, Any]:
    """Make an adapter of a KronA, LoKr, LoRA or LoHa file of another program.

    Args:
        source: hf:org/name, https://..., or a path that starts with . / ~
        out: the folder to write.
        factors: fit KronA of these factors to it, as 4,64 (default: it stays what it is).
        layout: of the fitted KronA: kron (the paper, exports to LoKr) or official (the authors' code).
        rank: make it a LoRA of this rank.
        kind: what an official file holds, where its shapes fit both.
        base: reference of the base; shapes are compared.
        token: the trigger word, where the file does not tell it.
        noun: the class noun after it.
        pickle: read a torch file's plain tensors too; nothing in it is run.
    """
    from suite import adapters, hub

    options = {"factors": parse_factors(factors), "layout": layout, "rank": rank, "kind": kind, "base": base}
    options |= {"token": token, "noun": noun, "pickle": pickle}
    folder = hub.convert(source, out, f"domains.{DOMAIN}.official.imports:convert", domain=DOMAIN, **options)
    manifest = adapters.read_manifest(folder)
    facts = Stated.from_dict(manifest["domain"])
    held = facts.source["captured_energy"]
    exact = "exact" if held == 1 else f"holds {100 * held:.2f} % of the change's squared norm"
    was, is_now, on = facts.source["format"], facts.method, manifest["base"]["reference"] or "not known"
    message = f"folder  {folder}\nwas     {was}\nis      {is_now}, {exact}\nbase    {on}"
    return {"folder": str(folder), "was": was, "method": is_now, "captured_energy": held, "message": message}


def inspect(
    source: str, *, kind: Literal["krona", "lora"] | None = None, pickle: bool = False, metadata: bool = False
) -> dict[str, Any]:
    """Tell what an adapter is: method, factors, layout, size, base, trigger word, and where it can go.

    Args:
        source: an adapter by reference, or any program's file: hf:org/name, https://..., or a path with . / ~
        kind: what an official file holds, where its shapes fit both.
        pickle: read a torch file's plain tensors too; nothing in it is run.
        metadata: print the header of the file too, cut to a readable size.
    """
    from suite.hub import references, resolution

    found, _ = resolution.fetch(references.parse(source, DOMAIN), "adapter", pickles=pickle)
    from domains.personalized_diffusion.official import header, imports

    opened = imports.open_adapter(found, kind=kind, pickle=pickle)
    facts = describe(opened, source)
    lines = [f"{name:<12}{_shown(value)}" for name, value in facts.items() if value not in (None, [], {}, "")]
    texts = header.shown(opened.metadata)
    if metadata:
        facts["metadata"] = texts
        lines += [f"  {key}: {value}" for key, value in sorted(texts.items())]
    return {**facts, "message": "\n".join(lines)}


def describe(opened: Opened, reference: str) -> dict[str, Any]:
    """What there is to say about the adapter that `reference` names."""
    from domains.personalized_diffusion.official import header
    from domains.personalized_diffusion.official.changes import Kronecker, LowRank, cross_attention_width, parameters

    changes, facts = opened.changes, opened.facts
    everything = [change for modules in changes.values() for change in modules.values()]
    pairs = [tuple(c.a.shape) for c in everything if isinstance(c, Kronecker)]
    ranks = [c.rank for c in everything if isinstance(c, LowRank)]
    layouts = sorted({"official" if c.official else "kron" for c in everything if isinstance(c, Kronecker)})
    exact = [min(c.a.shape) * min(c.b.shape) for c in everything if isinstance(c, Kronecker)]
    width = cross_attention_width(changes)
    return {
        "is": opened.kind,
        "file": str(opened.file),
        "adapts": {part: len(modules) for part, modules in changes.items()},
        "factors": {f"({a1}, {a2})": pairs.count((a1, a2)) for a1, a2 in sorted(set(pairs))},
        "layout": ", ".join(layouts),
        "ranks": {str(rank): ranks.count(rank) for rank in sorted(set(ranks))},
        "scaling": sorted({c.scaling for c in everything if isinstance(c, (Kronecker, LowRank))})[:5],
        "parameters": parameters(changes),
        "family": header.family_of(changes, facts) + (f" (cross-attention width {width})" if width else ""),
        "base": opened.base,
        "trigger": header.trigger_phrase(facts),
        "trained": {
            name: value
            for name, value in facts.train.items()
            if value is not None and name not in ("tags", "buckets", "versions")
        },
        "as LoRA": f"exact at rank {max(exact)}" if exact else None,
        "next": _next(reference, opened, layouts),
    }


def _next(reference: str, opened: Opened, layouts: list[str]) -> str:
    """The command that a person with this adapter most likely wants."""
    given = shlex.quote(reference)
    if not opened.manifest:  # another program's: only adapters of ours are exported
        fitted = "" if opened.kind in ("KronA", "LoRA", "LoKr", "LoHa", "DoRA") else " --factors 4,64, or --rank N"
        return f"suite {DOMAIN} import {given} ./mine{fitted}"
    export = f"suite {DOMAIN} export {given}"
    if not opened.changes:
        return f"{export} pipeline/ --to merged (it exists relative to its base)"
    if layouts == ["official"]:
        return f"{export} adapter.safetensors --to lora (LoKr cannot hold this layout)"
    return f"{export} adapter.safetensors"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def parse_factors(text: str | None) -> tuple[int, int] | None:
    """`4,64` as (4, 64).

    Raises:
        InputError: it is not two positive whole numbers.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").strip("() ").split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"factors {text!r} are to be two positive whole numbers, e.g. 4,64")
    return int(parts[0]), int(parts[1])
