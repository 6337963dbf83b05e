"""Adapters folded into whole models on disk, and one exchanged for another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError
from suite.files import atomic_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECORD = "suite_merge.json"


def merge(reference: str, out: Path, *, name: str | None, domain: str | None, base: str | None) -> Path:
    """Write the base of an adapter with the adapter folded in, as an ordinary model folder.

    Raises:
        InputError: a reference names nothing, the adapter names no base or cannot be merged, the bundle holds several
            alternatives and `name` chooses none, or the base is of no kind that can be loaded alone.
    """
    from suite import adapters, hub

    folder = _chosen(hub.resolve(reference, domain), name)
    base = base or _recorded_base(hub.resolve(reference, domain), folder)
    source = hub.resolve(base, domain, kind="base")
    carrier = adapters.load(_load(source), folder)
    adapters.merge(carrier)
    model = _load(source)
    merged = {key.replace(".base_layer.", "."): value for key, value in carrier.state_dict().items()}
    model.load_state_dict({key: merged[key] for key in model.state_dict()}, assign=True)
    model.tie_weights()
    with atomic_folder(out) as target:
        _copy_companions(source, target)
        model.save_pretrained(target)
        record = {"base": base, "adapter": reference, "name": name, "domain": domain}
        (target / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return out


def swap(folder: Path, reference: str, *, name: str | None, domain: str | None) -> Path:
    """Merge another adapter into the base that the merged model `folder` was made of, and put the result in its place.

    Going back to the recorded base, rather than subtracting the old adapter, leaves no rounding behind.

    Raises:
        InputError: `folder` was not written by `merge`, or as for `merge`.
    """
    file = folder / RECORD
    if not file.is_file():
        raise InputError(f"{folder} holds no {RECORD}; only a model that suite adapters merge wrote can swap adapters")
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
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


def _load(folder: Path) -> PreTrainedModel:
    """The model in `folder`, of the class that its config names."""
    import transformers

    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for architecture in config.get("architectures") or ():
        if hasattr(transformers, architecture):
            model: PreTrainedModel = getattr(transformers, architecture).from_pretrained(folder)
            return model
    raise InputError(f"{folder} is no transformers model (config.json names no class that is installed)")


def _copy_companions(source: Path, target: Path) -> None:
    """Copy what belongs to a model besides its weights: tokenizer, processor, generation settings."""
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja") and ".index." not in path.name:
            shutil.copy2(path, target / path.name)
