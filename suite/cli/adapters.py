"""`suite adapters`: adapters by reference, between the hub, this machine and other formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from suite.cli import options
from suite.cli.strictness import strict_bases
from suite.domain import Domain, find
from suite.errors import InputError

Kind = Literal["adapter", "base"]


def list_(domain: str | None = None) -> dict[str, Any]:
    """List the adapters and bases of the catalogue.

    Args:
        domain: only those of this domain.
    """
    from suite import hub

    if domain is not None:
        find(domain)
    entries = hub.listing(domain)
    rows = [
        (f"{entry['domain']}/{entry['name']}", entry["kind"], entry["method"] or "-", _metric(entry))
        for entry in entries
    ]
    return {"entries": entries, "message": _columns(rows) or "the catalogue is empty"}


def show(reference: str, *, domain: str | None = None, kind: Kind = "adapter") -> dict[str, Any]:
    """Show what is known of an adapter, from the catalogue and from its folder; nothing is downloaded.

    Args:
        reference: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        domain: the domain of a name without one.
        kind: adapter or base.
    """
    from suite import hub

    return _page(hub.show(reference, domain, kind=kind))


def pull(
    reference: str, *, domain: str | None = None, kind: Kind = "adapter", out: Path | None = None
) -> dict[str, Any]:
    """Download and verify an adapter.

    Args:
        reference: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        domain: the domain of a name without one.
        kind: adapter or base.
        out: copy it to this folder (default: it stays in the cache).
    """
    from suite import hub

    folder = hub.pull(reference, domain, kind=kind, out=out)
    return {"folder": folder, "message": f"folder  {folder}"}


def push(folder: Path, reference: str, *, private: bool = False, message: str | None = None) -> dict[str, Any]:
    """Upload an adapter folder.

    Args:
        folder: the adapter.
        reference: where to: hf:org/name[@branch]
        private: make a new repository private.
        message: of the commit.
    """
    from suite import hub

    address = hub.push(folder, reference, private=private, message=message)
    return {"address": address, "message": f"pushed  {address}"}


def verify(reference: str, *, domain: str | None = None, kind: Kind = "adapter") -> dict[str, Any]:
    """Check every file of an adapter against its recorded sha256.

    Args:
        reference: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        domain: the domain of a name without one.
        kind: adapter or base.
    """
    from suite import hub

    return _page(hub.verify(reference, domain, kind=kind))


# Files of methods that belong to no domain, and of the forks of peft that methods were published with.
LAYOUTS = {
    "bottleneck": "suite.adapters.released:bottleneck",
    "dept": "suite.adapters.released:dept_prompt",
    "llama_adapter": "suite.adapters.released:llama_adapter_prompts",
    "lofit": "suite.adapters.released_selection:lofit",
    "loreft": "suite.adapters.released_selection:loreft",
    "neuroada": "suite.adapters.released_selection:neuroada",
    "paca": "suite.adapters.released:paca",
    "tfew_ia3": "suite.adapters.released:tfew_ia3",
    "triadaptlora": "suite.adapters.released:triadapt",
}


def convert(
    reference: str, out: Path, *, domain: str | None = None, layout: str | None = None, option: Sequence[str] = ()
) -> dict[str, Any]:
    """Make an adapter folder of the checkpoint that a paper's authors released.

    Args:
        reference: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        out: the folder to write.
        domain: whose official format it is.
        layout: the format of a method that belongs to no domain: bottleneck, dept, llama_adapter, lofit, loreft,
            neuroada, paca, tfew_ia3 or triadaptlora.
        option: what its converter wants to know and the files do not tell, as name=value.
    """
    from suite import hub

    if (domain is None) == (layout is None):
        raise InputError("convert needs --domain, or --layout for a method that belongs to none, and not both")
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"--layout {layout}: the layouts are {', '.join(LAYOUTS)}")
    converter = LAYOUTS[layout] if layout is not None else f"{_official(find(str(domain)))}:convert"
    folder = hub.convert(reference, out, converter, domain=domain, **_given(converter, option))
    return {"folder": folder, "message": f"folder  {folder}"}


def export(
    reference: str, out: Path, *, domain: str | None = None, official: bool = False, option: Sequence[str] = ()
) -> dict[str, Any]:
    """Write an adapter for others: one .safetensors file, one .zip archive, or the authors' own layout.

    Args:
        reference: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        out: what to write; its ending chooses the format.
        domain: the domain of a name without one.
        official: write the layout of the paper's authors, a folder.
        option: for that layout, as name=value.
    """
    from suite import hub

    if official and domain is None:
        raise InputError("--official needs --domain, whose layout is meant")
    if option and not official:
        raise InputError("--option is for --official; the other formats have no options")
    exporter = f"{_official(find(domain))}:export" if official and domain else None
    settings = _given(exporter, option) if exporter else {}
    written = hub.export(reference, out, exporter, domain=domain, **settings)
    return {"path": written, "message": f"written  {written}"}


def merge(
    reference: str,
    out: Path,
    *,
    name: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    strict_base: bool = False,
) -> dict[str, Any]:
    """Fold an adapter into its base: an ordinary model folder that needs no adapter.

    Args:
        reference: the adapter.
        out: the folder to write.
        name: which one of a bundle of alternatives.
        domain: the domain of a name without one.
        base: reference of the base (default: the one that the adapter names).
        strict_base: refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it.
    """
    from suite.cli import merging

    with strict_bases(strict_base):
        folder = merging.merge(reference, out, name=name, domain=domain, base=base)
    return {"folder": folder, "message": f"folder  {folder}"}


def swap(
    folder: Path, reference: str, *, name: str | None = None, domain: str | None = None, strict_base: bool = False
) -> dict[str, Any]:
    """Put another adapter into a merged model, exactly as if it had been merged into the base at first.

    Args:
        folder: what `suite adapters merge` wrote.
        reference: the adapter that takes the other's place.
        name: which one of a bundle of alternatives.
        domain: the domain of a name without one.
        strict_base: refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it.
    """
    from suite.cli import merging

    with strict_bases(strict_base):
        merging.swap(folder, reference, name=name, domain=domain)
    return {"folder": folder, "message": f"folder  {folder}"}


VERBS: dict[str, Callable[..., Any]] = {
    "list": list_,
    "show": show,
    "pull": pull,
    "push": push,
    "verify": verify,
    "merge": merge,
    "convert": convert,
    "export": export,
    "swap": swap,
}


def _official(domain: Domain) -> str:
    """The module of `domain` that knows the authors' own format."""
    named = [*(task.recipe for task in domain.tasks.values()), *domain.verbs.values()]
    package = ".".join(named[0].partition(":")[0].split(".")[:2])
    return f"{package}.official"


def _given(function: str, words: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments of a converter or exporter from `name=value` words, each of the kind that it declares.

    Raises:
        InputError: a word is no `name=value`, the function has no such option, or the value is of another kind.
    """
    if not words:
        return {}
    from suite.hub import converters

    known = {option.name: option for option in options.of_function(converters.function(function)) if not option.bare}
    argv = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--option {word}: write name=value")
        if name not in known:
            there = ", ".join(known) or "none"
            near = get_close_matches(name, known, n=1)
            raise InputError(f"--option {name}: {f'did you mean {near[0]}?' if near else f'the options are {there}'}")
        if known[name].kind is bool:
            if value not in ("true", "false"):
                raise InputError(f"--option {word}: {name} is true or false")
            argv.append(known[name].flag if value == "true" else f"--no-{known[name].flag[2:]}")
        else:
            argv.append(f"{known[name].flag}={value}")
    return options.parse(options.Parser("--option", list(known.values())), list(known.values()), argv)


def _metric(entry: dict[str, Any]) -> str:
    metric = entry.get("metric")
    return f"{metric['name']} {metric['value']} on {metric['data']}" if metric else "-"


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _page(facts: dict[str, Any]) -> dict[str, Any]:
    width = max(map(len, facts), default=0)
    return {**facts, "message": "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())}
