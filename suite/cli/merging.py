"""Adapters folded into whole models on disk, and one exchanged for another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.domain import Domain, find, load
from suite.errors import InputError
from suite.files import Kind, atomic_folder, check_replaceable, read_json

if TYPE_CHECKING:
    from torch import Tensor, nn

RECORD = "suite_merge.json"
MERGED = Kind("a merged model", RECORD)


def merge(reference: str, out: Path, *, name: str | None, domain: str | None, base: str | None) -> Path:
    """Write the base of an adapter with the adapter folded in, as an ordinary model folder.

    Raises:
        InputError: a reference names nothing, the adapter names no base or cannot be merged, the bundle holds several
            alternatives and `name` chooses none, the base is of no kind that can be loaded alone, or `out` holds
            files that are no part of a merged model.
    """
    from suite import adapters, hub

    check_replaceable(out, MERGED)
    owner = _domain_of(reference, domain)
    load_base, save_base = _ways(owner)
    folder = _chosen(hub.resolve(reference, domain), name)
    if owner is not None and owner.check_merge:
        load(owner.check_merge)(folder)
    base = base or _recorded_base(hub.resolve(reference, domain), folder)
    source = hub.resolve(base, domain, kind="base")
    carrier = _attached(load_base(source), folder, owner)
    adapters.merge(carrier)
    model = load_base(source)
    _fill(model, adapters.merged_state(carrier))
    with atomic_folder(out, MERGED) as target:
        save_base(model, target, source)
        record = {"base": base, "adapter": reference, "name": name, "domain": domain}
        (target / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return out


def _attached(model: nn.Module, folder: Path, owner: Domain | None) -> nn.Module:
    from suite import adapters

    try:
        return adapters.load(model, folder)
    except InputError as error:
        if owner is not None:
            raise
        raise InputError(f"{error}; if the adapter is of a domain's own model, name the domain with --domain") from None


def _fill(model: nn.Module, merged: Mapping[str, Tensor]) -> None:
    """Give a fresh base the merged weights.

    Raises:
        InputError: the adapter needs what the base, written as an ordinary model, has no place for: a bias where its
            layers have none, or a weight of its own where two of the base's are one.
    """
    state = model.state_dict()
    lacking = [key for key, tensor in merged.items() if key not in state and tensor.any()]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise InputError(
            f"cannot be merged: {type(model).__name__} has no place for {lacking[0]}{more}, which the adapter adds; "
            "use it as an adapter"
        )
    model.load_state_dict({key: merged[key] for key in state}, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()  # as whoever loads it will
    for key, tensor in model.state_dict().items():
        if tensor.data_ptr() != merged[key].data_ptr() and not tensor.equal(merged[key]):
            raise InputError(
                f"cannot be merged: {key} is one with another weight of {type(model).__name__}, and the adapter "
                "changes only one of the two; use it as an adapter"
            )


def swap(folder: Path, reference: str, *, name: str | None, domain: str | None) -> Path:
    """Merge another adapter into the base that the merged model `folder` was made of, and put the result in its place.

    Going back to the recorded base, rather than subtracting the old adapter, leaves no rounding behind.

    Raises:
        InputError: `folder` was not written by `merge`, or as for `merge`.
    """
    file = folder / RECORD
    if not file.is_file():
        raise InputError(f"{folder} holds no {RECORD}; only a model that suite adapters merge wrote can swap adapters")
    record: dict[str, Any] = read_json(file)
    return merge(reference, folder, name=name, domain=domain or record["domain"], base=record["base"])


def _chosen(folder: Path, name: str | None) -> Path:
    """The adapter's folder, or of a bundle of alternatives (`stacked: false`) the one called `name`."""
    from suite import adapters

    manifest = adapters.read_manifest(folder)
    parts = {entry["name"]: folder / entry["folder"] for entry in manifest["adapters"]}
    alternatives = manifest.get("stacked") is False
    if name is None and not alternatives:
        return folder
    if name is None or name not in parts:
        raise InputError(f"{folder} holds {', '.join(parts)}; choose one with --name")
    return parts[name] if alternatives else folder


def _recorded_base(bundle: Path, folder: Path) -> str:
    from suite import adapters

    for place in (folder, bundle):
        reference = adapters.read_manifest(place)["base"].get("reference")
        if reference:
            # plain peft records the hub's id alone
            return str(reference) if ":" in reference or "/" not in reference else f"hf:{reference}"
    raise InputError(f"{folder} names no base; give it with --base")


def _domain_of(reference: str, domain: str | None) -> Domain | None:
    """The domain that is given, or that the adapter's name in the catalogue begins with."""
    from suite.hub import references

    name = domain or getattr(references.parse(reference, domain), "domain", "")
    return find(name) if name else None


def _ways(domain: Domain | None) -> tuple[Callable[[Path], nn.Module], Callable[[nn.Module, Path, Path], None]]:
    """How the domain's bases are loaded and saved."""
    if domain is None or not domain.load_base:
        return _load_transformers, _save_transformers
    return load(domain.load_base), load(domain.save_base)


def _load_transformers(folder: Path) -> nn.Module:
    """The model in `folder`, of the class that its config names."""
    import transformers

    from suite.hub.pretrained import bars_for_people

    file = folder / "config.json"
    config = read_json(file) if file.is_file() else {}
    for architecture in config.get("architectures") or ():
        if hasattr(transformers, architecture):
            with bars_for_people():
                return getattr(transformers, architecture).from_pretrained(folder)
    raise InputError(
        f"{folder} is no transformers model (config.json names no class that is installed); "
        "name the domain that knows it with --domain"
    )


def _save_transformers(model: Any, out: Path, source: Path) -> None:
    from suite.hub.pretrained import bars_for_people

    model.tie_weights()
    _copy_companions(source, out)
    with bars_for_people():
        model.save_pretrained(out)


def _copy_companions(source: Path, target: Path) -> None:
    """Copy what belongs to a model besides its weights: tokenizer, processor, generation settings."""
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja") and ".index." not in path.name:
            shutil.copy2(path, target / path.name)
